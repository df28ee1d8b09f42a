//! Text that people read: sizes, times, modes, tables. Results go to stdout, everything else to stderr.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;
use stash_api::files::Kind;
use stash_api::members::PeerRoom;

use crate::error::{Class, Problem};

/// Writes results to stdout. A reader that has seen enough (`| head`) is no error: the writer stops
/// quietly.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    terminal: bool,
    colours: bool,
}

impl Output {
    /// Prints JSON documents if `json`, no notes if `quiet`.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json, quiet, terminal, colours: terminal && !set("NO_COLOR") && !dumb }
    }

    /// True if the result is to be JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// True if progress may be drawn.
    pub(crate) fn bars(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Prints a result: the value itself with `--json`, else what `human` makes of it.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            self.raw(&format!("{}\n", serde_json::to_string(value)?))
        } else {
            self.raw(&human(value))
        }
    }

    /// Prints the result of a command that has changed something. If stdout does not take it, the error says
    /// what was done.
    pub(crate) fn done<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = human(value);
        let printed = match self.json {
            true => format!("{}\n", serde_json::to_string(value)?),
            false => text.clone(),
        };
        self.print(&printed).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => error.into(),
            _ => {
                let done = text.trim_end();
                Problem::new(
                    Class::Failed,
                    format!("it is done: {done}; stdout cannot be written: {error}"),
                )
                .into()
            }
        })
    }

    /// Prints text as it is.
    pub(crate) fn raw(&self, text: &str) -> anyhow::Result<()> {
        self.print(text).map_err(unwritten)
    }

    fn print(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Columns of the terminal that shows results; `None` where they go somewhere else, or nobody knows.
    pub(crate) fn columns(&self) -> Option<usize> {
        let size = self.terminal.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())??;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// True if notes are wanted.
    pub(crate) fn notes(&self) -> bool {
        !self.quiet
    }

    /// A text with the words that call for somebody in red, where a terminal shows it and nobody has forbidden
    /// colours: the first words of such lines.
    pub(crate) fn marked(&self, text: String) -> String {
        match self.colours {
            true => text.lines().map(mark).collect(),
            false => text,
        }
    }

    /// A key or path as it may be shown: on a terminal, control characters are made visible.
    pub(crate) fn shown(&self, text: &str) -> String {
        if self.terminal { visible(text) } else { text.to_owned() }
    }

    /// A line for the person at the terminal.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }
}

/// Beginnings of lines that call for somebody.
const CALLS: [&str; 6] = ["ALARM", "NOT HEALED", "NOT SAFE", "READ-ONLY", "AWAY", "FULL"];

/// A line with its first words in bold red, if they call for somebody.
fn mark(line: &str) -> String {
    let call = CALLS
        .iter()
        .find(|call| line.strip_prefix(**call).is_some_and(|rest| rest.starts_with([' ', ':'])));
    match call {
        Some(call) => format!("\u{1b}[1;31m{call}\u{1b}[0m{}\n", &line[call.len()..]),
        None => format!("{line}\n"),
    }
}

/// The error of a stdout that takes no more. That its reader left is told apart later.
pub(crate) fn unwritten(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => error.into(),
        _ => Problem::new(Class::Failed, format!("stdout cannot be written: {error}")).into(),
    }
}

/// Writes one line to stderr. A closed stderr is nobody's business.
pub(crate) fn say(text: &str) {
    let _nobody_reads = writeln!(io::stderr().lock(), "{text}");
}

/// Control characters (a terminal would obey them), line ends, and characters that nobody sees, as
/// `\u{..}`.
pub(crate) fn visible(text: &str) -> String {
    let hides = |c: char| c.is_control() || is_unseen(c);
    if !text.chars().any(hides) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut shown, c| {
        if hides(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// Format characters that take no room, break lines, or turn the order of the text around, so that a
/// name looks like another one (Unicode Technical Report 36).
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

/// The same for a text of several lines, which stay lines.
pub(crate) fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// How much of the bytes a cache keeps.
pub(crate) fn kept(bytes: u64) -> String {
    if bytes == 0 { "none".to_owned() } else { size(bytes) }
}

/// A size in IEC units with one decimal: `0 B`, `1023 B`, `1.0 KiB`, `64.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In tenths of a unit, rounded; a size that rounds up to 1024.0 belongs to the next unit.
    let mut unit = 0;
    loop {
        let shift = 10 * (u32::try_from(unit).unwrap_or(0) + 1);
        let tenths = (u128::from(bytes) * 10 + (1u128 << (shift - 1))) >> shift;
        if tenths < 10_240 || unit == UNITS.len() - 1 {
            return format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]);
        }
        unit += 1;
    }
}

/// A time in RFC 3339, UTC, to the second.
pub(crate) fn time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970 to a date of the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`). `jiff` ends with the year 9999, and
/// the time of a file may be any number.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// A mode as `ls -l` shows it.
pub(crate) fn mode(kind: Kind, mode: Option<u32>) -> String {
    let letter = match kind {
        Kind::File => "-",
        Kind::Link => "l",
        Kind::Directory => "d",
    };
    let Some(mode) = mode else {
        return letter.to_owned();
    };
    let mut text = letter.to_owned();
    for shift in [6, 3, 0] {
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if mode >> shift & bit != 0 { letter } else { '-' });
        }
    }
    text
}

/// The first digits of an id, as people tell nodes apart.
pub(crate) fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

/// `1 file`, `20 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A sentence about a member that is full, behind its name and `is`.
pub(crate) fn full_sentence(room: &PeerRoom) -> String {
    let of = room.limit.map(|limit| {
        let (used, limit) = (size(room.used), size(limit));
        let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
        let short = used.split_once(' ').filter(|_| unit(&used) == unit(&limit));
        format!(" ({} of {limit})", short.map_or(&used[..], |(number, _)| number))
    });
    let lacks = match room.lacks {
        0 => String::new(),
        1 => ": 1 file has no copy there".to_owned(),
        more => format!(": {} files have no copy there", grouped(more)),
    };
    format!("full{}{lacks}", of.unwrap_or_default())
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lines with aligned columns, two spaces apart, nothing behind the last one.
pub(crate) fn table(sides: &[Side], rows: &[Vec<String>]) -> String {
    part_of_table(sides, &mut vec![0; sides.len()], rows)
}

/// The same of a part of a table: its columns have these widths at least, and are noted if they are wider.
pub(crate) fn part_of_table(sides: &[Side], widths: &mut [usize], rows: &[Vec<String>]) -> String {
    for (column, width) in widths.iter_mut().enumerate() {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        *width = cells.fold(*width, usize::max);
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, side), width) in row.iter().zip(sides).zip(&*widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let _infallible = match side {
                Side::Left => write!(line, "{cell:<width$}"),
                Side::Right => write!(line, "{cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_the_unit_that_they_round_to() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_048_576, "1.0 MiB"),
            (64 << 20, "64.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_are_rfc_3339_before_and_after_1970() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ];
        for (seconds, text) in table {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn modes_look_as_in_ls() {
        assert_eq!(mode(Kind::File, Some(0o644)), "-rw-r--r--");
        assert_eq!(mode(Kind::Directory, Some(0o100_755)), "drwxr-xr-x");
        assert_eq!(mode(Kind::File, None), "-");
        assert_eq!(mode(Kind::Link, None), "l");
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_spaces() {
        let rows = [["a", "1", "x"], ["bcd", "200", ""]].map(|r| r.map(String::from).to_vec());
        let text = table(&[Side::Left, Side::Right, Side::Left], &rows);
        assert_eq!(text, "a      1  x\nbcd  200\n");
    }

    #[test]
    fn a_terminal_never_gets_a_control_character_of_a_key() {
        assert_eq!(visible("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(visible("Grüße"), "Grüße");
    }

    #[test]
    fn a_name_shows_what_would_turn_it_around_or_not_be_seen() {
        assert_eq!(visible("photo\u{202e}gpj.exe"), "photo\\u{202e}gpj.exe");
        let ranges = [0x200b..=0x200f, 0x2028..=0x202e, 0x2066..=0x2069];
        for code in ranges.into_iter().flatten().chain([0x61c, 0xfeff]) {
            let c = char::from_u32(code).unwrap();
            assert_eq!(visible(&format!("a{c}b")), format!("a\\u{{{code:x}}}b"));
        }
        // Neighbours of the ranges, and scripts that are written from right to left.
        for seen in [
            "a\u{2010}b",
            "a\u{202f}b",
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
            "\u{633}\u{644}\u{627}\u{645}",
        ] {
            assert_eq!(visible(seen), seen);
        }
    }

    #[test]
    fn lines_that_call_for_somebody_are_marked_and_no_others() {
        assert_eq!(mark("ALARM  a fork"), "\u{1b}[1;31mALARM\u{1b}[0m  a fork\n");
        assert_eq!(mark("NOT HEALED: x"), "\u{1b}[1;31mNOT HEALED\u{1b}[0m: x\n");
        for line in ["ALARMS  x", "name  ALARM", "FULLNESS", ""] {
            assert_eq!(mark(line), format!("{line}\n"));
        }
        // Tests have no terminal.
        assert_eq!(Output::new(false, false).marked("ALARM  x\n".into()), "ALARM  x\n");
    }

    #[test]
    fn counts_have_a_plural() {
        assert_eq!([count(0, "file"), count(1, "file")], ["0 files", "1 file"]);
    }

    #[test]
    fn thousands_stand_apart() {
        let numbers = [0, 999, 1_000, 2_202, 1_234_567];
        assert_eq!(numbers.map(grouped), ["0", "999", "1,000", "2,202", "1,234,567"]);
    }
    #[test]
    fn a_full_member_is_told_with_its_room_and_what_it_lacks() {
        let room = |used, lacks| PeerRoom { used, limit: Some(1 << 30), full: true, lacks };
        let full = "full (1.0 of 1.0 GiB): 2,202 files have no copy there";
        assert_eq!(full_sentence(&room(1 << 30, 2_202)), full);
        assert_eq!(
            full_sentence(&room(1 << 29, 1)),
            "full (512.0 MiB of 1.0 GiB): 1 file has no copy there"
        );
        assert_eq!(full_sentence(&PeerRoom { limit: None, ..room(9, 0) }), "full");
    }
}
