"""What one durable write costs on the disk that the log is on."""
import os
import statistics
import time

BYTES = 1024


def fdatasync_us(folder, times=150):
    """Median of writing 1 KiB and fdatasync, into a file that was zeroed before, as the
    log's segments are."""
    path = os.path.join(folder, "fdatasync")
    block = b"x" * BYTES
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(file, bytes(BYTES * times))
        os.fsync(file)
        os.lseek(file, 0, os.SEEK_SET)
        took = []
        for _ in range(times):
            began = time.perf_counter()
            os.write(file, block)
            os.fdatasync(file)
            took.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(file)
        os.unlink(path)
    return statistics.median(took)
