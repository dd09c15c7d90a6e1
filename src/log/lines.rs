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
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            self.0.extend_from_slice(text);
            while self.0.len() > MAX_LINE {
                f(self.piece());
            }
            if ended {
                f(self.line());
            }
        }
    }

    /// The last line, if it has no end.
    pub(crate) fn end(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> String {
        let line = self.0.strip_suffix(b"\r").unwrap_or(&self.0);
        let text = String::from_utf8_lossy(line).into_owned();
        self.0.clear();
        text
    }

    /// As much of it as a line may be, without cutting a character.
    fn piece(&mut self) -> String {
        let is_inside = |at: usize| self.0[at] & 0xC0 == 0x80;
        let end = (MAX_LINE - 3..=MAX_LINE).rev().find(|at| !is_inside(*at)).unwrap_or(MAX_LINE);
        let rest = self.0.split_off(end);
        let piece = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&piece).into_owned()
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
        assert_eq!(all(&[&long[..MAX_LINE], b"\n"]).len(), 1, "as long as one may be");
        let wide = "ü".repeat(MAX_LINE);
        let odd = format!("x{wide}  \n");
        let pieces = all(&[odd.as_bytes()]);
        assert_eq!(pieces.concat(), odd.trim_end_matches('\n'), "nothing is cut or lost");
    }
}
