//! Patterns of keys, as a shell has them. Pure.
//!
//! `*` stands for any letters of one segment, `?` for one, `[a-c]` for one of these, `[!a-c]` for one of all others,
//! and `**` as a whole segment for any number of segments. A pattern takes what it matches with all that lies
//! below: `Photos/*` takes all of `Photos`, as a shell's `cp -r` would.

use stash_crypto::Key;
use stash_crypto::record::KeyError;

use crate::model::scope::Scope;

/// A name with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The segments before the first one with a wildcard: what is taken is written out below them.
    prefix: Option<Key>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`.
    Any,
    Letters(Vec<Letter>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Letter {
    Just(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[…]`: ranges, and whether they are those that do not fit.
    Class(Vec<(char, char)>, bool),
}

impl Pattern {
    /// Reads a pattern; `None` of a name without wildcards.
    pub(crate) fn new(text: &str) -> Result<Option<Pattern>, KeyError> {
        Key::new(text)?;
        let wild = |segment: &str| segment.contains(['*', '?', '[']);
        let all: Vec<&str> = text.split('/').collect();
        let Some(first) = all.iter().position(|segment| wild(segment)) else { return Ok(None) };
        let prefix = (first > 0).then(|| Key::new(&all[..first].join("/"))).transpose()?;
        let segments = all[first..].iter().map(|segment| Segment::new(segment)).collect();
        Ok(Some(Pattern { prefix, segments }))
    }

    /// Where names that it may take lie.
    pub(crate) fn scope(&self) -> Scope {
        self.prefix.as_ref().map_or(Scope::All, Scope::below)
    }

    /// True if it matches this path below its scope, or a directory on the way to it.
    pub(crate) fn takes(&self, relative: &str) -> bool {
        // Which segments of the pattern may be next, after each segment of the path.
        let mut next = vec![false; self.segments.len() + 1];
        next[0] = true;
        self.pass_any(&mut next);
        for segment in relative.split('/') {
            let letters: Vec<char> = segment.chars().collect();
            let mut then = vec![false; next.len()];
            for (at, pattern) in self.segments.iter().enumerate().filter(|(at, _)| next[*at]) {
                match pattern {
                    Segment::Any => then[at] = true,
                    Segment::Letters(pattern) if matches(pattern, &letters) => then[at + 1] = true,
                    Segment::Letters(_) => {}
                }
            }
            self.pass_any(&mut then);
            if then[self.segments.len()] {
                return true;
            }
            next = then;
        }
        false
    }

    /// `**` stands for no segment as well.
    fn pass_any(&self, next: &mut [bool]) {
        for (at, segment) in self.segments.iter().enumerate() {
            next[at + 1] |= next[at] && *segment == Segment::Any;
        }
    }
}

impl Segment {
    fn new(text: &str) -> Segment {
        if text == "**" {
            return Segment::Any;
        }
        let text: Vec<char> = text.chars().collect();
        let (mut letters, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let (letter, len) = match text[at] {
                '*' => (Letter::Many, 1),
                '?' => (Letter::One, 1),
                '[' => class(&text[at..]).unwrap_or((Letter::Just('['), 1)),
                other => (Letter::Just(other), 1),
            };
            letters.push(letter);
            at += len;
        }
        Segment::Letters(letters)
    }
}

/// A class at the beginning of the text, and its length; `None` if it does not end.
fn class(text: &[char]) -> Option<(Letter, usize)> {
    let not = matches!(text.get(1), Some('!' | '^'));
    let begin = if not { 2 } else { 1 };
    // A bracket that comes first is a letter.
    let end = (begin + 1..text.len()).find(|at| text[*at] == ']')?;
    let (mut ranges, mut at) = (Vec::new(), begin);
    while at < end {
        let to = if at + 2 < end && text[at + 1] == '-' { at + 2 } else { at };
        ranges.push((text[at], text[to]));
        at = to + 1;
    }
    Some((Letter::Class(ranges, not), end + 1))
}

impl Letter {
    fn fits(&self, letter: char) -> bool {
        match self {
            Letter::Just(own) => *own == letter,
            Letter::One | Letter::Many => true,
            Letter::Class(ranges, not) => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&letter)) != *not
            }
        }
    }
}

/// Goes back to the last `*` only: one before it can always stand for as little as it did.
fn matches(pattern: &[Letter], text: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(Letter::Many) => {
                retry = Some((at + 1, read));
                at += 1;
            }
            Some(letter) if letter.fits(text[read]) => (at, read) = (at + 1, read + 1),
            _ => match retry {
                Some((behind, from)) => {
                    retry = Some((behind, from + 1));
                    (at, read) = (behind, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == Letter::Many)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, key: &str) -> bool {
        let pattern = Pattern::new(pattern).unwrap().unwrap();
        let key = Key::new(key).unwrap();
        let scope = pattern.scope();
        key.as_str().starts_with(scope.under()) && pattern.takes(scope.relative(&key))
    }

    #[test]
    fn wildcards_stand_for_letters_of_one_segment() {
        for (pattern, yes, no) in [
            (
                "a/*.jpg",
                &["a/x.jpg", "a/.jpg", "a/ü.jpg", "a/d.jpg/x"][..],
                &["a/x.png", "a/b/x.jpg", "b/x.jpg"][..],
            ),
            ("*", &["a", "a/b/c"], &[]),
            ("a/?", &["a/x", "a/ü", "a/x/y"], &["a/xy", "a"]),
            ("*a*b*a", &["aba", "xaxbxa", "aabbaa"], &["ab", "abab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "-x"]),
            ("[!a-c]x", &["dx", "-x"], &["ax"]),
            ("[]-]x", &["]x", "-x"], &["ax"]),
            ("a[", &["a["], &["a"]),
            ("a[b", &["a[b"], &["ab"]),
            ("**/x", &["x", "a/x", "a/b/x", "a/x/y"], &["a/xx", "y"]),
            ("a/**/x", &["a/x", "a/b/c/x"], &["b/x", "ax"]),
            ("a/**", &["a/b", "a/b/c"], &["b"]),
            ("a/*/c", &["a/b/c"], &["a/c", "a/b/b/c"]),
        ] {
            for key in yes {
                assert!(takes(pattern, key), "{pattern} {key}");
            }
            for key in no {
                assert!(!takes(pattern, key), "{pattern} {key}");
            }
        }
    }

    #[test]
    fn a_name_without_wildcards_is_no_pattern_and_one_that_no_key_can_have_is_refused() {
        assert_eq!(Pattern::new("a/b").unwrap(), None);
        for bad in ["", "/a*", "../*", "a//*", "a*/"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
        let prefix = |text: &str| Pattern::new(text).unwrap().unwrap().scope().under().to_owned();
        assert_eq!([prefix("a/b/*.c"), prefix("*/b")], ["a/b/", ""]);
    }

    /// Nobody's pattern takes the node's time: the work is the product of the two lengths.
    #[test]
    fn a_pattern_of_many_stars_is_no_longer_in_doubt_than_its_length() {
        let pattern = Pattern::new(&"*a".repeat(100)).unwrap().unwrap();
        assert!(!pattern.takes(&"a".repeat(99)));
        assert!(pattern.takes(&"a".repeat(300)));
        assert!(!pattern.takes(&format!("{}b", "a".repeat(800))));
    }
}
