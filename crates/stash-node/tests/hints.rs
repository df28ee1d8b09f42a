//! Every command that the program tells its user to type can be typed as printed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::disk::files_below;
use crate::common::{Node, code, member, private_dir, stash, stderr};

/// Second words of commands, and values that messages print as they are.
const WORDS: [&str; 9] =
    ["recovery", "show", "set", "remove", "role", "revoke", "keeper", "owner", "reader"];

/// The first words of all commands, as the program's own help lists them.
fn first_words() -> Vec<String> {
    let home = private_dir();
    let help = stash(home.path(), home.path()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let words: Vec<_> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(words.contains(&"put") && words.contains(&"completions"), "{words:?}");
    words.into_iter().map(str::to_owned).collect()
}

/// The commands in the texts of a source: in its string literals, and not in its comments and tests.
fn commands(source: &str, first: &[String]) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut text = String::new();
    for line in lines {
        // A literal goes on in the next line without its indentation.
        match text.strip_suffix('\\') {
            Some(before) => text = before.to_owned() + line.trim_start(),
            None => text = text + "\n" + line,
        }
    }
    let places = text.match_indices("stash ");
    let places = places.filter(|(at, _)| text[..*at].ends_with(['`', '"', ' ']));
    places.filter_map(|(at, _)| command(text[at..].lines().next().unwrap(), first)).collect()
}

/// The command at the beginning of a text, up to the first word that is none of it.
fn command(text: &str, first: &[String]) -> Option<String> {
    let text = text.split(['`', '"']).next().unwrap();
    let mut words = vec!["stash"];
    for word in text.split(' ').skip(1) {
        let bare = word.trim_end_matches(['`', '"', ',', ';', ':', '.', ')', '?']);
        let is_placeholder =
            bare.starts_with(['{', '\'']) || bare.chars().all(|c| c.is_ascii_uppercase());
        let is_first = words.len() == 1 && first.iter().any(|word| word == bare);
        if words.len() == 1 && !is_first {
            return None;
        }
        if bare.is_empty()
            || !(is_first
                || is_placeholder
                || bare.starts_with(['-', '/'])
                || WORDS.contains(&bare))
        {
            break;
        }
        words.push(bare);
        if bare != word {
            break;
        }
    }
    (words.len() > 1).then(|| words[1..].join(" "))
}

/// Every command in the messages of the program.
fn printed() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (first, mut all) = (first_words(), BTreeSet::new());
    for name in ["stash-node", "stash-vault", "stash-server", "stash-store", "stash-api"] {
        for file in files_below(&crates.join(name).join("src")) {
            let is_test = file.to_string_lossy().contains("tests");
            if file.extension().is_some_and(|extension| extension == "rs") && !is_test {
                all.extend(commands(&std::fs::read_to_string(file).unwrap(), &first));
            }
        }
    }
    all
}

#[test]
fn commands_are_found_in_messages() {
    let source = "// `stash comment`\nlet a = \"type `stash ls KEY`, or: stash peers shows\";\n\
                  let b = \"start it with: stash \\\n    up --detach, and\";\n\
                  let c = \"made a stash in {}; bring it back with: stash undelete {key}\";";
    assert_eq!(
        commands(source, &first_words()),
        ["ls KEY", "peers", "up --detach", "undelete {key}"]
    );
}

#[test]
fn every_command_of_a_hint_works_as_printed() {
    let node = Node::start();
    node.file("Photos/x", "x");
    node.ok(&["put", "Photos"]);
    let _attic = member(&node, "keeper", "attic");
    let version = node.json(&["history", "Photos/x"])["versions"][0]["version"].clone();
    let ticket = node.ok(&["invite", "--role", "keeper"]);
    let id = node.json(&["tickets"])["tickets"][0]["id"].clone();
    let paper = node.file("paper", node.ok(&["key", "recovery"]));
    let meaning = |word: &str| match word {
        "KEY" => "Photos/x".to_owned(),
        "VERSION" => version.as_str().unwrap().to_owned(),
        "TICKET" => ticket.trim().to_owned(),
        "ID" => id.as_str().unwrap()[..8].to_owned(),
        "NAME" => "attic".to_owned(),
        "ROLE" => "keeper".to_owned(),
        "PATH" => "Photos/x".to_owned(),
        "FILE" => paper.to_str().unwrap().to_owned(),
        word if word.starts_with(['{', '\'']) => "Photos/x".to_owned(),
        word => {
            let is_known = word.chars().any(|c| !c.is_ascii_uppercase());
            assert!(is_known, "nobody knows what {word} stands for");
            word.to_owned()
        }
    };
    let printed = printed();
    assert!(printed.len() > 30, "{printed:#?}");
    // What it would end comes last.
    let (last, first): (Vec<_>, Vec<_>) = printed.iter().partition(|line| line.starts_with("stop"));
    for line in first.into_iter().chain(last) {
        let words: Vec<String> = line.split(' ').map(meaning).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = node.run(&words);
        let asks = stderr(&output).contains("there is no terminal to ask on");
        assert!(code(&output) != 2 || asks, "`stash {line}` will not do: {}", stderr(&output));
    }
}
