//! What a child prints, cut into lines to be logged.

/// Bytes of a line; a longer one comes in pieces.
const MAX_LINE: usize = 8 * 1024;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrintedOn {
    Stdout,
    Stderr,
}

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Calls `f` with every line that ends in `bytes`.
    pub(crate) fn split(&mut self, bytes: &[u8], mut f: impl FnMut(String)) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let mut part = part;
            while self.0.len() + part.len() > MAX_LINE {
                let (now, later) = part.split_at(MAX_LINE - self.0.len());
                self.0.extend_from_slice(now);
                f(self.take());
                part = later;
            }
            self.0.extend_from_slice(part);
            if self.0.ends_with(b"\n") {
                f(self.take());
            }
        }
    }

    /// The last line, if it has no end.
    pub(crate) fn end(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let line = self.0.trim_ascii_end();
        let text = String::from_utf8_lossy(line).into_owned();
        self.0.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for part in parts {
            lines.split(part, |line| found.push(line));
        }
        found.extend(lines.end());
        found
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(all(&[b"a\nb", b"c\r\n\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(all(&[b"a\n"]), ["a"]);
        assert_eq!(all(&[b"", b""]), [""; 0]);
        assert_eq!(all(&[b"\xff!\n"]), ["\u{fffd}!"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let long = vec![b'x'; 2 * MAX_LINE + 5];
        let pieces: Vec<usize> = all(&[&long, b"\nnext\n"]).iter().map(String::len).collect();
        assert_eq!(pieces, [MAX_LINE, MAX_LINE, 5, 4]);
    }
}
