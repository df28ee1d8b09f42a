//! Patterns of names, as shells have them.

use std::str::FromStr;

use thiserror::Error;

/// Bytes of a pattern at most: as many as a key may have.
const LENGTH_MAX: usize = 1024;

/// A pattern: `*` stands for any characters, `?` for one, `[a-z]` for one of these, `[!a-z]` for one that is none of
/// these, and `\` takes the meaning of the next one away. None of them stands for a `/`; `**` does, too. A pattern
/// without a `/` is one of the last part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
    /// True if it is compared with the whole path.
    path: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// This character.
    One(char),
    /// Any character but a slash.
    Any,
    /// One that lies in any of these, or in none of them if `not`.
    Class { not: bool, ranges: Vec<(char, char)> },
    /// Any number of characters but slashes.
    Many,
    /// Any number of characters.
    All,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GlobError {
    /// A class has no end.
    #[error("a `[` has no `]`")]
    Open,
    /// Nothing follows the character that takes a meaning away.
    #[error("nothing follows the last `\\`")]
    Escape,
    /// It is longer than a key may be.
    #[error("it has more than {LENGTH_MAX} bytes")]
    Long,
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Glob, GlobError> {
        if text.len() > LENGTH_MAX {
            return Err(GlobError::Long);
        }
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' if chars.next_if_eq(&'*').is_some() => Part::All,
                '*' => Part::Many,
                '?' => Part::Any,
                '\\' => Part::One(chars.next().ok_or(GlobError::Escape)?),
                '[' => class(&mut chars).ok_or(GlobError::Open)?,
                c => Part::One(c),
            });
        }
        let path = parts.iter().any(|part| matches!(part, Part::One('/') | Part::All));
        Ok(Glob { parts, path })
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let not = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Part::Class { not, ranges }),
            '\\' => chars.next()?,
            c => c,
        };
        // A hyphen before the end stands for itself.
        let mut ahead = chars.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *chars = ahead;
                to
            }
            _ => from,
        };
        ranges.push((from, to));
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Part::One(one) => *one == c,
            Part::Any | Part::Many => c != '/',
            Part::Class { not, ranges } => {
                c != '/' && ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not
            }
            Part::All => true,
        }
    }

    fn repeats(&self) -> bool {
        matches!(self, Part::Many | Part::All)
    }
}

impl Glob {
    /// True if it stands for this path, or if it has no `/`, for its last part.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let text = match self.path {
            true => path,
            false => path.rsplit('/').next().unwrap_or(path),
        };
        // The parts that may come next. No pattern takes longer than its length for a character.
        let mut here = vec![false; self.parts.len() + 1];
        here[0] = true;
        self.skip(&mut here);
        for c in text.chars() {
            let mut next = vec![false; here.len()];
            for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| here[*at]) {
                if part.takes(c) {
                    next[if part.repeats() { at } else { at + 1 }] = true;
                }
            }
            self.skip(&mut next);
            here = next;
        }
        here[self.parts.len()]
    }

    /// What repeats may also be left out.
    fn skip(&self, here: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            here[at + 1] |= here[at] && part.repeats();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_what_they_do_in_a_shell() {
        let table: [(&str, &[&str], &[&str]); 9] = [
            ("*.jpg", &["a.jpg", "2024/a.jpg", ".jpg"], &["a.jpeg", "a.jpg/b"]),
            ("IMG_????.*", &["x/IMG_0001.raw"], &["IMG_001.raw"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[!a-c]x", &["dx"], &["ax", "x"]),
            ("[]-]x", &["]x", "-x"], &["ax"]),
            (r"\*", &["*", "d/*"], &["a"]),
            ("2024/*", &["2024/a"], &["2024/a/b", "x/2024/a", "2024"]),
            ("**/a*", &["x/y/ab", "x/a"], &["ab", "x/b"]),
            ("", &[], &["a"]),
        ];
        for (pattern, yes, no) in table {
            let glob: Glob = pattern.parse().unwrap();
            yes.iter().for_each(|name| assert!(glob.matches(name), "{pattern} {name}"));
            no.iter().for_each(|name| assert!(!glob.matches(name), "{pattern} {name}"));
        }
        assert_eq!("[a".parse::<Glob>(), Err(GlobError::Open));
        assert_eq!("a\\".parse::<Glob>(), Err(GlobError::Escape));
        assert_eq!("x".repeat(1025).parse::<Glob>(), Err(GlobError::Long));
    }

    /// Where others go back and try again, this takes as long as the pattern is, for each character.
    #[test]
    fn many_stars_take_no_time() {
        let glob: Glob = ("*a".repeat(500) + "b").parse().unwrap();
        assert!(!glob.matches(&"a".repeat(1024)));
    }
}
