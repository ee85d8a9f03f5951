/* A failing disk under one folder, put under a program by LD_PRELOAD.
 *
 * Calls that change files below $FAULT_ROOT are counted, and from the n-th on they fail as the
 * order in $FAULT_ORDER says: a file of one page that the test maps as well, so that it gives
 * orders while the program runs and reads what became of them. Everything else passes through.
 *
 * With `loses`, a sync that fails also takes back what was written to that file since its last
 * good sync: the kernel forgets pages that it could not write, and whoever believes the next
 * sync has lost them. What was written before the order was given is not taken back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* `faults.py` has the same numbers and the same page. */
enum { WRITE = 1, SYNC = 2, RENAME = 4, CREATE = 8, TRUNCATE = 16, UNLINK = 32 };
enum { FAIL = 0, SHORT = 1, TORN = 2, KILL = 3, KILLED = 4 };

static struct order {
    uint32_t armed;  /* counts and strikes only while set */
    uint32_t kinds;  /* which calls */
    uint32_t at;     /* the first to be struck, from 1 */
    uint32_t again;  /* whether every later one is struck too */
    uint32_t how;    /* FAIL; SHORT: half is written; TORN: half, and then FAIL for good;
                        KILL: the program dies instead of a sync, KILLED: after it */
    uint32_t error;  /* errno of FAIL */
    uint32_t loses;  /* whether a failed sync loses what was not synced */
    uint32_t count;  /* such calls so far */
    uint32_t struck; /* of which failed */
    char call[28];   /* the first one struck, and its file below the root */
    char path[512];
} *order;

static const char *root;
static size_t root_len;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* What a write replaced, until it is synced. */
static struct before {
    struct before *older;
    dev_t dev;
    ino_t ino;
    off_t at, size;
    size_t had;
    char bytes[];
} *unsynced;

/* A test without its fault would be green for nothing. */
static void give_up(const char *why)
{
    dprintf(2, "fault.c: %s: %s\n", why, strerror(errno));
    _exit(97);
}

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("FAULT_ORDER");
    root = getenv("FAULT_ROOT");
    if (!file || !root)
        give_up("no order");
    root_len = strlen(root);
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        give_up(file);
    close(fd);
    order = page;
}

static int below(const char *path)
{
    return !strncmp(path, root, root_len) && path[root_len] == '/';
}

/* Whether this descriptor's file is below the root; if so, its path. */
static int ours(int fd, char *path, size_t room)
{
    char link[64];
    if (!order || !order->armed || fd < 3)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, room - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return below(path);
}

/* Counts a call; whether it is one that fails. The turn is held. */
static int strikes(uint32_t kind, const char *call, const char *path)
{
    if (!(order->kinds & kind))
        return 0;
    uint32_t n = ++order->count;
    if (n < order->at || (n > order->at && !order->again && order->how != TORN))
        return 0;
    if (!order->struck) {
        snprintf(order->call, sizeof order->call, "%s", call);
        snprintf(order->path, sizeof order->path, "%s", path + root_len + 1);
    }
    __atomic_add_fetch(&order->struck, 1, __ATOMIC_SEQ_CST);
    return 1;
}

static int reopened(int fd, int flags)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = syscall(SYS_openat, AT_FDCWD, link, flags | O_CLOEXEC, 0);
    if (again < 0)
        give_up("reopening a file");
    return again;
}

/* Keeps what a write is about to replace. The turn is held. */
static void remember(int fd, off_t at, size_t len)
{
    struct stat now;
    if (!order->loses || fstat(fd, &now) || !S_ISREG(now.st_mode))
        return;
    struct before *one = malloc(sizeof *one + len);
    int reader = reopened(fd, O_RDONLY);
    ssize_t had = one ? syscall(SYS_pread64, reader, one->bytes, len, at) : -1;
    if (had < 0)
        give_up("reading what is replaced");
    syscall(SYS_close, reader);
    *one = (struct before){unsynced, now.st_dev, now.st_ino, at, now.st_size, (size_t)had};
    unsynced = one;
}

/* Forgets what a file's writes replaced, or puts it back, newest first. The turn is held. */
static void settle(int fd, int lost)
{
    struct stat now;
    if (fstat(fd, &now))
        return;
    for (struct before **at = &unsynced; *at;) {
        struct before *one = *at;
        if (one->dev != now.st_dev || one->ino != now.st_ino) {
            at = &one->older;
            continue;
        }
        if (lost) {
            int writer = reopened(fd, O_WRONLY);
            if (syscall(SYS_pwrite64, writer, one->bytes, one->had, one->at) < 0
                || syscall(SYS_ftruncate, writer, one->size))
                give_up("losing a write");
            syscall(SYS_close, writer);
        }
        *at = one->older;
        free(one);
    }
}

static int refuse(void)
{
    errno = order->error;
    return -1;
}

/* --- writing ------------------------------------------------------------------ */

static ssize_t put(const char *call, int fd, const void *bytes, size_t len, off_t at, int placed)
{
    char path[4096];
    if (!ours(fd, path, sizeof path))
        return placed ? syscall(SYS_pwrite64, fd, bytes, len, at) : syscall(SYS_write, fd, bytes, len);
    pthread_mutex_lock(&turn);
    int appends = (int)syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    struct stat now = {0};
    if (!placed)
        at = appends && !fstat(fd, &now) ? now.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t n;
    int first = !order->struck, struck = strikes(WRITE, call, path);
    if (struck && (order->how == FAIL || (order->how == TORN && !first))) {
        n = refuse();
    } else {
        /* Never none at all: that would be an error and no short write. */
        size_t some = struck && len > 1 ? len / 2 : len;
        remember(fd, at, some);
        n = placed ? syscall(SYS_pwrite64, fd, bytes, some, at) : syscall(SYS_write, fd, bytes, some);
    }
    int error = errno;
    pthread_mutex_unlock(&turn);
    errno = error;
    return n;
}

EXPORT ssize_t write(int fd, const void *bytes, size_t len)
{
    return put("write", fd, bytes, len, 0, 0);
}
EXPORT ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    return put("pwrite", fd, bytes, len, at, 1);
}
EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    return put("pwrite", fd, bytes, len, at, 1);
}
EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    char path[4096];
    if (count > 0 && ours(fd, path, sizeof path))
        return put("writev", fd, parts[0].iov_base, parts[0].iov_len, 0, 0);
    return syscall(SYS_writev, fd, parts, count);
}

/* --- syncing ------------------------------------------------------------------ */

static int sync_of(const char *call, long number, int fd)
{
    char path[4096];
    if (!ours(fd, path, sizeof path))
        return (int)syscall(number, fd);
    pthread_mutex_lock(&turn);
    int struck = strikes(SYNC, call, path);
    if (struck && order->how >= KILL) {
        if (order->how == KILLED && syscall(number, fd))
            give_up("syncing");
        kill(getpid(), SIGKILL);
    }
    int done = struck ? -1 : (int)syscall(number, fd);
    int error = struck ? (int)order->error : errno;
    settle(fd, struck && order->loses);
    pthread_mutex_unlock(&turn);
    errno = error;
    return done;
}

EXPORT int fsync(int fd) { return sync_of("fsync", SYS_fsync, fd); }
EXPORT int fdatasync(int fd) { return sync_of("fdatasync", SYS_fdatasync, fd); }

/* --- names and lengths -------------------------------------------------------- */

/* One counted call by path or descriptor: fails, or says that it may go on. */
static int fails(uint32_t kind, const char *call, const char *path)
{
    if (!order || !order->armed || !below(path))
        return 0;
    pthread_mutex_lock(&turn);
    int struck = strikes(kind, call, path);
    pthread_mutex_unlock(&turn);
    return struck ? refuse() : 0;
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (fails(RENAME, "rename", to))
        return -1;
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}
EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}
EXPORT int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int unlink(const char *path)
{
    return fails(UNLINK, "unlink", path) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    unsigned mode = flags & O_CREAT ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    if (flags & O_CREAT && fails(CREATE, "open", path))
        return -1;
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}
#define OPENED(name) \
    EXPORT int name(const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        unsigned mode = flags & O_CREAT ? va_arg(rest, unsigned) : 0; \
        va_end(rest); \
        return openat(AT_FDCWD, path, flags, mode); \
    }
OPENED(open)
OPENED(open64)

EXPORT int ftruncate64(int fd, off64_t len)
{
    char path[4096];
    if (ours(fd, path, sizeof path) && fails(TRUNCATE, "ftruncate", path))
        return -1;
    return (int)syscall(SYS_ftruncate, fd, len);
}
EXPORT int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }
