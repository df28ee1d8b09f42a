//! The members at one look, a line a member.

use stash_api::node::PeerState;

use crate::output::{Side, kept, short, size, table, visible};
use crate::zone::seconds_since;

/// Letters of a name that are shown; a longer one is cut.
const NAME: usize = 14;

/// A table where it fits. Where the terminal is narrower, each member has lines of its own: who it is, what it has, what it is.
pub(super) fn member_lines(peers: &[PeerState], columns: Option<usize>) -> String {
    let cells: Vec<Cells> = peers.iter().map(Cells::of).collect();
    let head = ["member", "role", "seen", "has, to go", "free", "version"].map(str::to_owned);
    let rows = cells.iter().map(|cells| cells.0.clone());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).map(Vec::from).collect();
    let text = table(&[Side::Left; 6], &rows);
    let width = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    match columns {
        Some(columns) if width > columns => cells.iter().map(Cells::apart).collect(),
        _ => text,
    }
}

/// What is shown of a member.
struct Cells([String; 6]);

impl Cells {
    fn of(peer: &PeerState) -> Cells {
        let name = peer.name.as_deref().map_or_else(|| short(&peer.node_id).to_owned(), visible);
        let role = if peer.founder { "founder" } else { &peer.role };
        Cells([
            cut(&name),
            role.to_owned(),
            seen(peer),
            has(peer),
            room(peer),
            peer.version.as_deref().map_or_else(|| "?".to_owned(), visible),
        ])
    }

    fn apart(&self) -> String {
        let [name, role, seen, has, free, version] = &self.0;
        let to_go = if has.contains(',') { " to go" } else { "" };
        format!("{name}, {role}, {seen}\n  has {has}{to_go}\n  free {free}, version {version}\n")
    }
}

fn cut(name: &str) -> String {
    match name.chars().count() > NAME {
        true => name.chars().take(NAME - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

fn seen(peer: &PeerState) -> String {
    let ago = || peer.last_seen.as_deref().and_then(seconds_since);
    match (peer.this, peer.connected) {
        (true, _) => "this node".to_owned(),
        (false, true) if peer.in_doubt => "IN DOUBT".to_owned(),
        (false, true) => "connected".to_owned(),
        (false, false) if peer.lapsed => "lapsed".to_owned(),
        (false, false) => ago().map_or_else(|| "never".to_owned(), |ago| span(ago) + " ago"),
    }
}

fn has(peer: &PeerState) -> String {
    if let Some(keep) = peer.keep {
        return format!("keeps {}", kept(keep));
    }
    if peer.in_doubt {
        return "not shown".to_owned();
    }
    let Some(percent) = peer.percent else {
        return "unknown".to_owned();
    };
    let to_go = peer.seconds_to_go.map(|seconds| format!(", {}", span(seconds)));
    format!("{percent} %{}", to_go.unwrap_or_default())
}

fn room(peer: &PeerState) -> String {
    match peer.free {
        _ if peer.full => "FULL".to_owned(),
        Some(free) => size(free),
        None => "?".to_owned(),
    }
}

/// A time in one unit: at most `99 min`, `47 h`, then days.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => "1 min".to_owned(),
        60..6_000 => format!("{} min", seconds / 60),
        6_000..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of the table with all that may stand in it, and room for one more of eight.
    const COLUMNS: usize = 80;

    fn peer(name: &str) -> PeerState {
        PeerState {
            node_id: "fd28a6950f0123456789".into(),
            name: Some(name.into()),
            role: "keeper".into(),
            founder: false,
            this: false,
            connected: true,
            last_seen: None,
            in_doubt: false,
            lapsed: false,
            percent: Some(100),
            seconds_to_go: None,
            free: Some(3 << 30),
            full: false,
            version: Some("0.2.0".into()),
            keep: None,
        }
    }

    fn peers() -> Vec<PeerState> {
        let this = PeerState { this: true, founder: true, role: "owner".into(), ..peer("laptop") };
        let on_its_way = PeerState { percent: Some(26), seconds_to_go: Some(2_823), ..peer("nas") };
        let (connected, full, percent) = (false, true, None);
        let gone = PeerState { connected, full, percent, name: None, version: None, ..peer("") };
        let cache = PeerState { keep: Some(50 << 30), ..peer("netbook") };
        vec![this, on_its_way, gone, cache]
    }

    #[test]
    fn a_member_has_a_line() {
        let text = member_lines(&peers(), None);
        let expected = "\
member      role     seen       has, to go      free     version
laptop      founder  this node  100 %           3.0 GiB  0.2.0
nas         keeper   connected  26 %, 47 min    3.0 GiB  0.2.0
fd28a6950f  keeper   never      unknown         FULL     ?
netbook     keeper   connected  keeps 50.0 GiB  3.0 GiB  0.2.0
";
        assert_eq!(text, expected);
    }

    #[test]
    fn all_that_may_stand_in_the_table_fits_into_eighty_columns() {
        let widest = PeerState {
            percent: Some(99),
            seconds_to_go: Some(5_999),
            free: Some(1_023 << 30),
            founder: true,
            version: Some("0.12.3".into()),
            ..peer("\u{e9}tag\u{e8}re du grenier")
        };
        let text = member_lines(&[widest, peers().remove(0)], Some(COLUMNS));
        assert!(text.starts_with("member "), "{text}");
        assert!(text.contains("\u{e9}tag\u{e8}re du gr…  founder"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS - 8), "{text}");
    }

    #[test]
    fn a_narrow_terminal_shows_lines_of_their_own_for_each_member() {
        let text = member_lines(&peers(), Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        let nas =
            "nas, keeper, connected\n  has 26 %, 47 min to go\n  free 3.0 GiB, version 0.2.0\n";
        assert!(text.contains(nas), "{text}");
    }

    #[test]
    fn when_a_member_was_seen_last_is_said_in_one_unit() {
        let at = |ago: i64| {
            let at = jiff::Timestamp::now().as_second() - ago;
            let at = jiff::Timestamp::from_second(at).unwrap().to_string();
            seen(&PeerState { connected: false, last_seen: Some(at), ..peer("x") })
        };
        assert_eq!(
            [0, 300, 7_300, 864_000].map(at),
            ["1 min ago", "5 min ago", "2 h ago", "10 d ago"]
        );
        let doubt = PeerState { in_doubt: true, ..peer("x") };
        assert_eq!((seen(&doubt), has(&doubt)), ("IN DOUBT".to_owned(), "not shown".to_owned()));
        let away = PeerState { connected: false, ..doubt };
        assert_eq!((seen(&away), has(&away)), ("never".to_owned(), "not shown".to_owned()));
        let lapsed = PeerState { lapsed: true, connected: false, ..peer("x") };
        assert_eq!(seen(&lapsed), "lapsed");
    }
}
