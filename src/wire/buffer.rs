//! Blocks, their pool, and the buffer that borrows one.

/// Free blocks of one worker. All blocks have the same size. The one given
/// back last goes out first: it is still in the CPU's cache.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<Box<[u8]>>,
    block_size: usize,
    lent: usize,
}

/// Free blocks that a pool keeps; more are given back to the allocator.
const KEEP: usize = 64;

impl BlockPool {
    /// A pool of blocks of `block_size` bytes.
    pub fn new(block_size: usize) -> Self {
        Self { free: Vec::new(), block_size, lent: 0 }
    }

    /// Bytes of one block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Blocks in use.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Blocks in use or kept for use.
    pub fn held(&self) -> usize {
        self.lent + self.free.len()
    }

    fn take(&mut self) -> Box<[u8]> {
        self.lent += 1;
        self.free.pop().unwrap_or_else(|| vec![0; self.block_size].into_boxed_slice())
    }

    fn give(&mut self, block: Box<[u8]>) {
        self.lent -= 1;
        if self.free.len() < KEEP && block.len() == self.block_size {
            self.free.push(block);
        }
    }
}

/// A queue of at most one block of bytes. Empty, it holds no block.
///
/// A buffer must be [`clear`](Self::clear)ed before it is dropped, or its block
/// is lost to the pool (and freed).
#[derive(Debug, Default)]
pub struct Buffer {
    block: Option<Box<[u8]>>,
    start: u32,
    end: u32,
}

impl Buffer {
    /// A buffer of bytes that came from elsewhere. More than one block are kept
    /// in a block of their own, which is not used again; there is no room behind
    /// them.
    pub fn holding(pool: &mut BlockPool, bytes: Vec<u8>) -> Self {
        let mut buffer = Self::default();
        if bytes.len() <= pool.block_size {
            buffer.append(pool, &bytes);
        } else if let Ok(end) = u32::try_from(bytes.len()) {
            pool.lent += 1;
            buffer = Self { block: Some(bytes.into_boxed_slice()), start: 0, end };
        }
        buffer
    }

    /// Takes everything out.
    pub fn take(&mut self, pool: &mut BlockPool) -> Vec<u8> {
        let bytes = self.data().to_vec();
        self.clear(pool);
        bytes
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether no byte waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes waiting, first in first.
    pub fn data(&self) -> &[u8] {
        match &self.block {
            Some(block) => &block[self.start as usize..self.end as usize],
            None => &[],
        }
    }

    /// Lets `read` write to the free room behind the data and counts what it
    /// says it wrote; also answers how much room there was. Borrows a block if
    /// there is none, and gives it back if nothing was written.
    ///
    /// # Errors
    /// What `read` answers.
    pub fn fill<E>(
        &mut self,
        pool: &mut BlockPool,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(usize, usize), E> {
        let block = self.block.get_or_insert_with(|| pool.take());
        let room = &mut block[self.end as usize..];
        let size = room.len();
        let outcome = read(room);
        if let Ok(n) = &outcome {
            self.end += (*n).min(size) as u32;
        }
        self.settle(pool);
        outcome.map(|n| (n, size))
    }

    /// Appends as much of `bytes` as there is room for; answers how much.
    pub fn append(&mut self, pool: &mut BlockPool, bytes: &[u8]) -> usize {
        let copied = self.fill(pool, |room| {
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            Ok::<_, std::convert::Infallible>(n)
        });
        match copied {
            Ok((n, _)) => n,
        }
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, pool: &mut BlockPool, n: usize) {
        self.start += n.min(self.len()) as u32;
        self.settle(pool);
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut BlockPool) {
        self.start = self.end;
        self.settle(pool);
    }

    fn settle(&mut self, pool: &mut BlockPool) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if let Some(block) = self.block.take() {
                pool.give(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_held_only_while_bytes_wait() {
        let mut pool = BlockPool::new(8);
        let mut buffer = Buffer::default();
        assert_eq!(buffer.append(&mut pool, b"0123456789"), 8, "one block is the bound");
        assert_eq!(pool.lent(), 1);
        assert_eq!(buffer.data(), b"01234567");
        buffer.consume(&mut pool, 3);
        assert_eq!(buffer.data(), b"34567");
        buffer.consume(&mut pool, 5);
        assert_eq!((pool.lent(), pool.held()), (0, 1));
        assert_eq!(buffer.append(&mut pool, b"ab"), 2);
        buffer.clear(&mut pool);
        assert_eq!((pool.lent(), pool.held()), (0, 1), "the same block went out and came back");
    }

    #[test]
    fn a_failed_read_gives_the_block_back() {
        let mut pool = BlockPool::new(8);
        let mut buffer = Buffer::default();
        assert_eq!(buffer.fill(&mut pool, |_| Err(5)), Err(5));
        assert_eq!(buffer.fill(&mut pool, |_| Ok::<_, ()>(0)), Ok((0, 8)));
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn more_than_a_block_from_elsewhere_is_kept_until_it_is_consumed() {
        let mut pool = BlockPool::new(4);
        let mut buffer = Buffer::holding(&mut pool, b"0123456789".to_vec());
        assert_eq!((pool.lent(), buffer.data()), (1, &b"0123456789"[..]));
        assert_eq!(buffer.append(&mut pool, b"x"), 0, "nothing is read behind it");
        buffer.consume(&mut pool, 9);
        assert_eq!(buffer.take(&mut pool), b"9");
        assert_eq!((pool.lent(), pool.held()), (0, 0), "such a block is not used again");
        for size in [0, 3, 4] {
            let mut buffer = Buffer::holding(&mut pool, vec![7; size]);
            assert_eq!((buffer.len(), pool.lent()), (size, usize::from(size > 0)));
            assert_eq!(buffer.take(&mut pool), vec![7; size]);
        }
        assert_eq!(pool.held(), 1);
    }

    #[test]
    fn free_blocks_are_bounded() {
        let mut pool = BlockPool::new(1);
        let mut buffers: Vec<Buffer> = (0..KEEP + 10).map(|_| Buffer::default()).collect();
        for buffer in &mut buffers {
            buffer.append(&mut pool, b"x");
        }
        for buffer in &mut buffers {
            buffer.clear(&mut pool);
        }
        assert_eq!(pool.held(), KEEP);
    }
}
