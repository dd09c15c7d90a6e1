//! Copies between a stream and an end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::link::{End, Pace};

/// Bytes that are copied at a time.
const CHUNK: usize = 64 << 10;

/// An end, and what copies between the stream and that one.
pub(super) fn pumped<S>(
    stream: S,
    refused: Arc<OnceLock<String>>,
) -> io::Result<(End, impl Future<Output = ()> + Send)>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (ours, theirs) = End::pair()?;
    Ok((theirs, pump(stream, ours, refused)))
}

async fn pump<S: AsyncRead + AsyncWrite>(stream: S, mut end: End, refused: Arc<OnceLock<String>>) {
    let Ok(out) = end.try_clone() else { return };
    let (reader, writer) = tokio::io::split(stream);
    // When one direction is over, nobody is left to use the other: what has arrived by then lies in the pair, and what was
    // to go out has gone.
    let mut inwards = std::pin::pin!(inwards(reader, end));
    let mut outwards = std::pin::pin!(outwards(writer, out));
    let over = tokio::select! {
        over = &mut inwards => over,
        over = &mut outwards => over,
    };
    // TLS says so when the peer has refused this end's certificate. The pair's end is still there: whoever finds it gone
    // finds the reason.
    if let Err(error) = over
        && error.kind() == io::ErrorKind::InvalidData
    {
        let _ = refused.set(error.to_string());
    }
}

async fn inwards(mut stream: impl AsyncRead + Unpin, mut end: End) -> io::Result<()> {
    let mut buf = vec![0; CHUNK];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        let mut rest = &buf[..n];
        while !rest.is_empty() {
            let slices = [IoSlice::new(rest)];
            let n = poll_fn(|cx| end.write(&mut Pace::Task(cx), &slices, &[])).await?;
            rest = &rest[n..];
        }
    }
}

async fn outwards(mut stream: impl AsyncWrite + Unpin, mut end: End) -> io::Result<()> {
    let mut buf = Vec::with_capacity(CHUNK);
    let mut sets = VecDeque::new();
    loop {
        buf.clear();
        let read = poll_fn(|cx| end.read(&mut Pace::Task(cx), &mut buf, CHUNK, &mut sets)).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buf).await?;
        stream.flush().await?;
    }
}
