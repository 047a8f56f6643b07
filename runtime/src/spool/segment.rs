//! One file of the spool: a row of blocks.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 4] = b"wspl";
const HEADER: usize = 32;
/// A segment gets no more blocks once it has this many bytes.
const FULL: u64 = if cfg!(test) { 128 * 1024 } else { 64 * 1024 * 1024 };

struct BlockAt {
    first: u64,
    count: u32,
    offset: u64,
    length: usize,
    checksum: u64,
}

/// A segment, and where the blocks are that haven't been handed out.
pub struct Segment {
    path: PathBuf,
    file: File,
    first: u64,
    end: u64,
    length: u64,
    blocks: VecDeque<BlockAt>,
    first_read: bool,
}

impl Segment {
    /// Makes a new segment whose first record has this index.
    pub fn create(directory: &Path, first: u64) -> io::Result<Self> {
        let path = directory.join(format!("{first:020}.seg"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { path, file, first, end: first, length: 0, blocks: VecDeque::new(), first_read: false })
    }

    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut segment = Self { path, file, first: 0, end: 0, length: 0, blocks: VecDeque::new(), first_read: false };
        while let Some(block) = segment.block_at(segment.length, size)? {
            if segment.blocks.is_empty() {
                segment.first = block.first;
            }
            segment.end = block.first + u64::from(block.count);
            segment.length = block.offset + block.length as u64;
            segment.blocks.push_back(block);
        }
        // What follows the last whole block was torn off by a death.
        segment.file.set_len(segment.length)?;
        Ok(segment)
    }

    fn block_at(&self, at: u64, size: u64) -> io::Result<Option<BlockAt>> {
        if at + HEADER as u64 > size {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, at)?;
        let number = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[from..from + 8]);
            u64::from_le_bytes(bytes)
        };
        let count = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let (first, length, checksum) = (number(8), number(16), number(24));
        let offset = at + HEADER as u64;
        if header[..4] != *MAGIC || length > size - offset {
            return Ok(None);
        }
        let block = BlockAt { first, count, offset, length: length as usize, checksum };
        Ok(self.read(&block).is_ok().then_some(block))
    }

    fn read(&self, block: &BlockAt) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; block.length];
        self.file.read_exact_at(&mut bytes, block.offset)?;
        if xxh3_64(&bytes) != block.checksum {
            let reason = format!("{}: checksum of the block at {} is wrong", self.path.display(), block.offset);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(bytes)
    }

    /// Appends a block; answers how many bytes it took.
    pub fn append(&mut self, first: u64, count: u32, records: &[u8]) -> io::Result<u64> {
        let mut bytes = Vec::with_capacity(HEADER + records.len());
        let checksum = xxh3_64(records);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&(records.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(records);
        // What a failed write leaves behind is overwritten by the next.
        self.file.write_all_at(&bytes, self.length)?;
        let offset = self.length + HEADER as u64;
        self.blocks.push_back(BlockAt { first, count, offset, length: records.len(), checksum });
        self.length += bytes.len() as u64;
        self.end = first + u64::from(count);
        Ok(bytes.len() as u64)
    }

    /// The index of the first record that hasn't been handed out.
    pub fn first_left(&self) -> Option<u64> {
        self.blocks.front().map(|block| block.first)
    }

    /// The first block that hasn't been handed out: its index, its records, and how many they are.
    pub fn read_first(&mut self) -> io::Result<(u64, Vec<u8>, u32)> {
        let Some(block) = self.blocks.front() else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment without blocks"));
        };
        let records = self.read(block)?;
        self.first_read = true;
        Ok((block.first, records, block.count))
    }

    /// Takes the first block off, if it has been read.
    pub fn pop_if_read(&mut self) {
        if std::mem::take(&mut self.first_read) {
            self.blocks.pop_front();
        }
    }

    /// Whether the first block has been read and not been taken off.
    pub fn is_first_read(&self) -> bool {
        self.first_read
    }

    /// Takes off blocks that end before the record with index `cursor`; answers how many records of the first one
    /// left are before it.
    pub fn skip_to(&mut self, cursor: u64) -> u64 {
        while self.blocks.front().is_some_and(|block| block.first + u64::from(block.count) <= cursor) {
            self.blocks.pop_front();
        }
        self.blocks.front().map_or(0, |block| cursor.saturating_sub(block.first))
    }

    /// The index of its first record, ever.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The index after its last record.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many records are in the blocks left.
    pub fn records(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.count)).sum()
    }

    /// Its size on disk. Bytes.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// Whether no block is left.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether it should get no more blocks.
    pub fn is_full(&self) -> bool {
        self.length >= FULL
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Removes the file.
    pub fn remove(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// All segments in a directory, in order.
pub fn scan(directory: &Path) -> io::Result<VecDeque<Segment>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut segments = VecDeque::new();
    for path in paths {
        let mut segment = Segment::open(path)?;
        if segment.is_empty() {
            segment.remove()?;
        } else {
            segments.push_back(segment);
        }
    }
    Ok(segments)
}
