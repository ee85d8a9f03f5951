//! Changes of bytes that are good to begin with, as a fuzzer's input spells them.

/// One change, eight bytes of an input: what, which part, where, how much.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    pub kind: u8,
    pub part: u8,
    pub at: u32,
    pub value: u16,
}

/// The changes that an input spells, sixteen at most.
pub fn read(data: &[u8]) -> impl Iterator<Item = Edit> {
    let (chunks, _) = data.as_chunks::<8>();
    chunks.iter().take(16).map(|c| Edit {
        kind: c[0],
        part: c[1],
        at: u32::from_le_bytes([c[2], c[3], c[4], 0]),
        value: u16::from_le_bytes([c[6], c[7]]),
    })
}

impl Edit {
    /// Changes some bytes.
    pub fn apply(self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let at = self.at as usize % (len + 1);
        let run = usize::from(self.value % 512).max(1);
        match self.kind % 8 {
            0 if at < len => bytes[at] ^= (self.value as u8).max(1),
            1 if at < len => bytes[at] = self.value as u8,
            2 => bytes.insert(at, self.value as u8),
            3 => drop(bytes.drain(at..(at + run).min(len))),
            4 => bytes.truncate(at),
            5 => {
                // A line again, somewhere else.
                let copy = line_at(bytes, at).to_vec();
                let to = line_start(bytes, usize::from(self.value) * 16 % (len + 1));
                drop(bytes.splice(to..to, copy));
            }
            6 => {
                let line = line_range(bytes, at);
                drop(bytes.drain(line));
            }
            _ => bytes.extend(std::iter::repeat_n((self.value >> 8) as u8, run)),
        }
    }
}

fn line_start(bytes: &[u8], at: usize) -> usize {
    let before = &bytes[..at.min(bytes.len())];
    before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |n| n + 1)
}

fn line_range(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let start = line_start(bytes, at);
    let end = bytes[start..].iter().position(|b| *b == b'\n');
    start..end.map_or(bytes.len(), |n| start + n + 1)
}

fn line_at(bytes: &[u8], at: usize) -> &[u8] {
    &bytes[line_range(bytes, at)]
}
