//! A server that answers each frame with itself: what an answer to each message costs at least. It reads
//! all that is there at once, and sends each answer by itself, as the limit of websockets does; or
//! joined, all answers to what it has read at once.

use std::io::{self, Read as _, Write as _};

use bytes::{Buf as _, BytesMut};

/// The length of a frame stands before it.
pub const LENGTH_BYTES: usize = 4;

/// Answers each connection, one after the other.
pub fn serve(joined: bool) -> io::Result<()> {
    let listener = super::listen("echo")?;
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut chunk = vec![0; 64 << 10];
        let (mut input, mut output) = (BytesMut::new(), Vec::new());
        loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            input.extend_from_slice(&chunk[..read]);
            while let Some((length, _)) = input.split_first_chunk::<LENGTH_BYTES>() {
                let len = LENGTH_BYTES + u32::from_be_bytes(*length) as usize;
                if input.len() < len {
                    break;
                }
                if joined {
                    output.extend_from_slice(&input[..len]);
                } else {
                    stream.write_all(&input[..len])?;
                }
                input.advance(len);
            }
            stream.write_all(&output)?;
            output.clear();
        }
    }
}
