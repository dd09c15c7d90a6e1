//! Results as a stream, over an input that is never in memory as a whole.
//!
//! Shows that
//! - `imap` takes the lines of a file lazily, at most a window ahead of whoever
//!   consumes the results, and gives the results in order,
//! - endless inputs are therefore fine,
//! - `try_imap` puts an error of the input in its place among the results,
//! - `imap_unordered` gives results as they come: a slow one holds nobody up.
//!
//! Run it with `cargo run --example streaming`.

use std::cell::Cell;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use procpool::{ErrorKind, ProcessPool};

const LINES: usize = 1000;
const WINDOW: usize = 8;

#[procpool::task]
fn count_words(line: String) -> usize {
    line.split_whitespace().count()
}

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

/// Waits for `gate` if there is one, and gives `n` back.
#[procpool::task]
fn pass(n: u32, gate: Option<PathBuf>) -> u32 {
    while gate.as_deref().is_some_and(|gate| !gate.exists()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    n
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = TempDir::new()?;
    let pool = ProcessPool::builder().workers(2).build().await?;

    println!("imap over the lines of a file");
    let path = dir.0.join("text");
    // Line n has n % 7 + 1 words.
    let text: String = (0..LINES).map(|n| "word ".repeat(n % 7 + 1) + "\n").collect();
    fs::write(&path, text)?;
    let read = Cell::new(0);
    let lines = lines_of(&path)?.map_while(Result::ok).inspect(|_| read.set(read.get() + 1));
    let mut counts = pool.imap(count_words, lines).window(WINDOW);
    println!("  lines read before the first poll: {}", read.get());

    let (mut consumed, mut words, mut most_ahead) = (0, 0, 0);
    // `Results` has a `next` of its own; with `StreamExt` it is a stream like others.
    while let Some(count) = counts.next().await {
        let count = count?;
        assert_eq!(count, consumed % 7 + 1, "out of order");
        consumed += 1;
        words += count;
        most_ahead = most_ahead.max(read.get() - consumed);
    }
    println!("  {consumed} lines in order, {words} words");
    println!("  lines read ahead: never more than {WINDOW}: {}", most_ahead <= WINDOW);

    println!("an endless input");
    let squares: Vec<_> = pool.imap(square, 1..).take(5).collect().await;
    println!("  {:?}", squares.into_iter().collect::<Result<Vec<_>, _>>()?);

    println!("try_imap over an input that may fail");
    let path = dir.0.join("broken");
    fs::write(&path, b"one two\nthree\n\xff\xfe\nfour five six\n")?;
    let mut counts = pool.try_imap(count_words, lines_of(&path)?);
    while let Some(count) = counts.next().await {
        match count {
            Ok(count) => println!("  {count}"),
            // Nothing is wrong with the pool or the task, and the stream goes on.
            Err(error) if matches!(error.kind(), ErrorKind::Input { .. }) => println!("  {error}"),
            Err(error) => return Err(error.into()),
        }
    }

    println!("imap_unordered");
    let gate = dir.0.join("gate");
    let inputs = (0..4).map(|n| (n, (n == 0).then(|| gate.clone())));
    let mut results = pool.imap_unordered(pass, inputs);
    let mut quick = Vec::new();
    while quick.len() < 3
        && let Some(n) = results.next().await
    {
        quick.push(n?);
    }
    quick.sort();
    println!("  while 0 still waits: {quick:?}");
    fs::write(&gate, "")?;
    while let Some(n) = results.next().await {
        println!("  and then: {}", n?);
    }

    pool.shutdown().await?;
    Ok(())
}

fn lines_of(path: &Path) -> std::io::Result<impl Iterator<Item = std::io::Result<String>>> {
    Ok(BufReader::new(File::open(path)?).lines())
}

/// A directory that is removed when dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> std::io::Result<Self> {
        let name = format!("procpool-streaming-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(TempDir(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
