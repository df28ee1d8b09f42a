use std::ffi::OsString;

use stash_vault::Traffic;
use stash_vault::server::Rate;

use super::*;
use crate::error::Class;
use crate::units::Size;

struct Case {
    dir: tempfile::TempDir,
    env: Vec<(&'static str, OsString)>,
    global: Global,
    up: Up,
    must_exist: bool,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = vec![("HOME", dir.path().join("home").into_os_string())];
        Self { dir, env, global: Global::default(), up: Up::default(), must_exist: false }
    }

    fn user(self, text: &str) -> Self {
        let dir = self.dir.path().join("home/.config/stash");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.toml"), text).unwrap();
        self
    }

    fn system(self, text: &str) -> Self {
        std::fs::write(self.dir.path().join("system.toml"), text).unwrap();
        self
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn load(&self) -> Result<Settings, Problem> {
        let env = |name: &str| {
            self.env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        Settings::load(&Sources {
            global: &self.global,
            up: &self.up,
            env: &env,
            system_file: &self.dir.path().join("system.toml"),
            named_file_must_exist: self.must_exist,
        })
    }
}

#[test]
fn each_source_wins_over_the_next() {
    let mut case = Case::new();
    assert_eq!(case.load().unwrap().name.origin, Origin::Default);
    case = case.system("name = \"system\"");
    assert_eq!(case.load().unwrap().name.value, "system");
    case = case.user("name = \"user\"");
    assert_eq!(case.load().unwrap().name.value, "user");
    case = case.env("STASH_NAME", "environment");
    let name = case.load().unwrap().name;
    assert_eq!(
        (name.value.as_str(), name.origin),
        ("environment", Origin::Environment("STASH_NAME"))
    );
    case.up.name = Some("flag".into());
    let name = case.load().unwrap().name;
    assert_eq!((name.value.as_str(), name.origin), ("flag", Origin::Flag));
}

/// As with the home directory of another user.
#[test]
fn a_default_file_that_cannot_be_read_matters_only_where_it_says_which_node_is_meant() {
    let mut case = Case::new();
    std::fs::create_dir_all(case.dir.path().join("home/.config/stash/config.toml")).unwrap();
    assert_eq!(case.load().unwrap_err().code, Class::Unreadable);
    case.global.data_dir = Some("/d".into());
    assert_eq!(case.load().unwrap_err().code, Class::Unreadable);
    case.global.socket = Some("/s".into());
    assert_eq!(case.load().unwrap().data_dir.value, Path::new("/d"));
    case.global.config = Some(case.dir.path().join("home/.config/stash/config.toml"));
    assert_eq!(case.load().unwrap_err().code, Class::Unreadable, "it was named");
}

#[test]
fn a_key_that_only_the_system_file_has_is_found_behind_the_user_file() {
    let settings = Case::new().user("name = \"user\"").system("log = \"debug\"").load().unwrap();
    assert_eq!(settings.log.value.as_deref(), Some("debug"));
    assert_eq!(settings.name.value, "user");
    assert_eq!(settings.files.len(), 2);
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let case = Case::new();
    let settings = case.load().unwrap();
    assert_eq!(settings.listen.value, ["0.0.0.0:7979".parse().unwrap()]);
    assert_eq!(settings.data_dir.value, case.dir.path().join("home/.local/share/stash"));
    assert_eq!(settings.socket.value, settings.data_dir.value.join("stash.sock"));
    assert!(settings.create.value);
}

#[test]
fn an_unknown_key_is_an_error_that_names_file_line_and_key() {
    let problem = Case::new().user("name = \"x\"\nlisten_on = 1\n").load().unwrap_err();
    assert_eq!(problem.code, Class::Usage);
    for part in [".config/stash/config.toml", "line 2", "listen_on"] {
        assert!(problem.message.contains(part), "{part:?} is not in {}", problem.message);
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_an_error_that_names_file_line_and_key() {
    let problem = Case::new().system("\n\nlisten = [\"he re\"]\n").load().unwrap_err();
    for part in ["system.toml", "line 3", "listen"] {
        assert!(problem.message.contains(part), "{part:?} is not in {}", problem.message);
    }
}

#[test]
fn a_bad_address_in_the_environment_names_the_variable() {
    let problem = Case::new().env("STASH_LISTEN", "127.0.0.1:1,he re").load().unwrap_err();
    assert_eq!(problem.code, Class::Usage);
    assert!(problem.message.contains("STASH_LISTEN"), "{}", problem.message);
    assert!(problem.message.contains("he re"), "{}", problem.message);
}

#[test]
fn relative_paths_of_a_file_are_below_the_file() {
    let case = Case::new().user("data_dir = \"here\"");
    let settings = case.load().unwrap();
    let below = case.dir.path().join("home/.config/stash/here");
    assert_eq!(settings.data_dir.value, below);
    assert_eq!(settings.socket.value, below.join("stash.sock"));
}

#[test]
fn a_named_file_must_exist_unless_the_command_would_write_it() {
    let mut case = Case::new();
    case.global.config = Some(case.dir.path().join("none.toml"));
    assert!(case.load().is_ok());
    case.must_exist = true;
    let problem = case.load().unwrap_err();
    assert_eq!(problem.code, Class::Usage);
    assert!(problem.message.contains("none.toml"));
}

#[test]
fn the_template_of_the_first_run_is_a_valid_file_that_forbids_a_second_stash() {
    let settings = Case::new().user(TEMPLATE).load().unwrap();
    assert!(!settings.create.value);
    let all: String = TEMPLATE
        .lines()
        .map(|line| {
            let said = |rest: &&str| rest.contains(" = ") || rest.starts_with('[');
            line.strip_prefix("# ").filter(said).unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(Case::new().user(&all).load().unwrap().name.value, "laptop");
}

#[test]
fn a_name_is_1_to_64_bytes_without_control_characters() {
    for bad in ["a\u{1b}[2J", &"x".repeat(65)] {
        let problem = Case::new().env("STASH_NAME", bad).load().unwrap_err();
        assert_eq!(problem.code, Class::Usage);
    }
    let longest = "x".repeat(64);
    assert_eq!(Case::new().env("STASH_NAME", &longest).load().unwrap().name.value, longest);
}

#[test]
fn quotas_and_housekeeping_are_read_from_every_source() {
    let file = "[quota]\nsoft = \"400 GiB\"\nhard = \"500 GiB\"\n[gc]\ngrace = \"2d\"\n\
                [scrub]\nshare = \"5 %\"\n[repair]\ncopies = 3\n[retention]\nage = \"90d\"\nversions = 3\n";
    let mut case = Case::new().user(file).env("STASH_GC_GRACE", "12h");
    case = case.env("STASH_RETENTION_VERSIONS", "7");
    case.up.quota_hard = Some(Size(600 << 30));
    let upkeep = case.load().unwrap().upkeep;
    let quota = upkeep.quota();
    assert_eq!(
        (quota.soft, quota.hard, quota.reserve_bytes),
        (Some(400 << 30), Some(600 << 30), None)
    );
    assert_eq!(upkeep.quota.hard.origin, Origin::Flag);
    let house = upkeep.housekeeping();
    let hour = std::time::Duration::from_secs(3_600);
    assert_eq!((house.gc_interval, house.gc_grace), (hour, 12 * hour));
    assert_eq!((house.scrub_share, house.scrub_interval), (5, 7 * 24 * hour));
    assert_eq!((house.repair_copies, house.repair_grace), (3, 24 * hour));
    assert_eq!(house.repair_lapse, 90 * 24 * hour);
    let retention = upkeep.retention();
    assert_eq!((retention.age, retention.versions), (90 * 24 * hour, 7));
}

#[test]
fn fewer_copies_than_one_are_refused_by_name() {
    for (text, refused) in [("copies = 0", true), ("copies = 1", false)] {
        let loaded = Case::new().user(&format!("[repair]\n{text}\n")).load();
        assert_eq!(loaded.is_err(), refused, "{text}");
        if let Err(problem) = loaded {
            assert_eq!(problem.code, Class::Usage);
            assert!(problem.message.contains("repair.copies"), "{}", problem.message);
        }
    }
}

#[test]
fn a_retention_that_keeps_nothing_has_to_be_confirmed() {
    let sections = [
        "age = \"0s\"\nversions = 0",
        "age = \"0s\"\nversions = 1",
        // Removed files go whatever their number of versions is.
        "age = \"0s\"",
    ];
    for section in sections {
        let file = format!("[retention]\n{section}\n");
        let problem = Case::new().user(&file).load().unwrap_err();
        assert_eq!(problem.code, Class::Usage);
        assert!(problem.message.contains("for good"), "{}", problem.message);
        assert!(problem.hint.unwrap().contains("forget_at_once = true"));

        let confirmed = format!("{file}forget_at_once = true\n");
        assert!(Case::new().user(&confirmed).load().is_ok());
        let case = Case::new().user(&file);
        assert!(case.env("STASH_RETENTION_FORGET_AT_ONCE", "true").load().is_ok());
        let mut case = Case::new().user(&file);
        case.up.retention_forget_at_once = true;
        assert!(case.load().is_ok());
    }
    for harmless in ["age = \"1s\"\nversions = 0", "versions = 0", "forget_at_once = true"] {
        assert!(Case::new().user(&format!("[retention]\n{harmless}\n")).load().is_ok());
    }
}

#[test]
fn limits_of_the_line_are_read_from_every_source_each_direction_for_itself() {
    let file = "[network]\nbwlimit_up = \"2 MiB\"\nbackground_down = \"512 KiB\"\n";
    let bytes = |traffic: Traffic| {
        [traffic.bandwidth.up, traffic.bandwidth.down, traffic.background_down]
            .map(|rate| rate.map(Rate::bytes_per_second))
    };
    let network = Case::new().user(file).load().unwrap().network;
    assert_eq!(bytes(network.traffic(0)), [Some(2 << 20), None, Some(512 << 10)]);
    assert_eq!(network.bwlimit_down.origin, Origin::Default);
    let mut case = Case::new().user(file).env("STASH_BWLIMIT", "off:3 MiB");
    let network = case.load().unwrap().network;
    assert_eq!(bytes(network.traffic(0)), [None, Some(3 << 20), Some(512 << 10)]);
    case.up.bwlimit = Some("1MiB".parse().unwrap());
    let network = case.load().unwrap().network;
    assert_eq!(bytes(network.traffic(0)), [Some(1 << 20), Some(1 << 20), Some(512 << 10)]);
    assert_eq!(network.bwlimit_up.origin, Origin::Flag);
    let problem = Case::new().env("STASH_BWLIMIT", "64KiB").load().unwrap_err();
    assert_eq!(problem.code, Class::Usage);
    assert!(problem.message.contains("128 KiB/s is the least"), "{}", problem.message);
}

#[test]
fn a_quota_or_span_that_makes_no_sense_is_an_error_that_names_it() {
    let table = [
        ("[quota]\nsoft = \"2 GiB\"\nhard = \"1 GiB\"\n", "quota.soft (2 GiB"),
        ("[quota]\nhard = \"lots\"\n", "\"lots\" is no size"),
        ("[quota]\nhrad = \"1 GiB\"\n", "hrad"),
        ("[gc]\ninterval = \"5s\"\n", "gc.interval (5s"),
        ("[repair]\nchallenge = \"0s\"\n", "repair.challenge (0s"),
        ("[scrub]\nshare = \"200 %\"\n", "\"200 %\" is no share"),
    ];
    for (file, part) in table {
        let problem = Case::new().user(file).load().unwrap_err();
        assert_eq!(problem.code, Class::Usage);
        assert!(problem.message.contains(part), "{part:?} is not in {}", problem.message);
        assert!(problem.message.contains("config.toml"), "{}", problem.message);
    }
    let problem = Case::new().env("STASH_SCRUB_SHARE", "2").load().unwrap_err();
    assert!(problem.message.contains("STASH_SCRUB_SHARE"), "{}", problem.message);
}
