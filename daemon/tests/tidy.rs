//! The invariants of README.md's list of that name, checked against the sources: which words may appear in which files.
//!
//! Comments and literals are removed before words are compared, so that prose may name what code may not use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Words that may appear only in some files.
struct Rule {
    name: &'static str,
    /// Folders under the repository to which the rule applies.
    roots: &'static [&'static str],
    /// Sequences of tokens separated by blanks, such as `env :: var`.
    words: &'static [&'static str],
    /// Files or folders (ending in `/`) under the repository in which the words may appear.
    allowed: &'static [&'static str],
    /// Whether `#[cfg(test)]` modules may do it as well.
    tests_may: bool,
}

const RULES: &[Rule] = &[
    Rule {
        name: "axum and status codes appear only under daemon/src/http/",
        roots: &["daemon/src"],
        words: &["axum", "StatusCode"],
        allowed: &["daemon/src/http.rs", "daemon/src/http/"],
        tests_may: false,
    },
    Rule {
        name: "SQL appears only under daemon/src/store/",
        roots: &["daemon/src", "client/src", "helper/src"],
        words: &["sqlx"],
        allowed: &["daemon/src/store.rs", "daemon/src/store/"],
        tests_may: false,
    },
    Rule {
        name: "unsafe appears only in sys.rs",
        roots: &["api-schema", "client", "daemon", "helper", "integration-tests"],
        words: &["unsafe"],
        // The bench's floor program makes the bare system calls that Pinnace is compared with.
        allowed: &["helper/src/sys.rs", "helper/src/sys/", "daemon/src/sys.rs", "integration-tests/src/bin/"],
        tests_may: false,
    },
    Rule {
        name: "the daemon has threads: it never forks or changes what all its threads share",
        roots: &["daemon/src"],
        words: &["fork (", "unshare (", "setns (", "chdir (", "umask (", "pre_exec (", "set_current_dir ("],
        allowed: &[],
        tests_may: false,
    },
    Rule {
        name: "the environment is read only in config.rs",
        roots: &["daemon/src", "helper/src"],
        words: &["env :: var", "env :: var_os", "env :: vars", "env :: vars_os"],
        allowed: &["daemon/src/config.rs"],
        tests_may: true,
    },
    Rule {
        name: "the daemon asks the time only through clock.rs",
        roots: &["daemon/src"],
        words: &["SystemTime :: now", "Zoned :: now", "jiff :: Timestamp :: now"],
        allowed: &["daemon/src/clock.rs"],
        tests_may: true,
    },
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the daemon's folder is in the workspace").to_owned()
}

/// Returns every Rust source under `folder`, as `(path under the repository, text)`.
fn sources(folder: &str) -> Vec<(String, String)> {
    let repository = repository();
    let mut found = Vec::new();
    let mut folders = vec![repository.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a source folder is readable") {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&repository).expect("under the repository").display().to_string();
                found.push((name, std::fs::read_to_string(&path).expect("a source is UTF-8")));
            }
        }
    }
    found.sort();
    found
}

/// Splits a source into identifiers and punctuation with its line numbers; `::` is one token, comments and literals are
/// none.
fn tokens(source: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < chars.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => i = end_of_string(&chars, i),
            // A character, not a lifetime: 'x' or an escape.
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            c if word(c) => {
                while word(at(i)) {
                    i += 1;
                }
                let text: String = chars[start..i].iter().collect();
                let raw = matches!(text.as_str(), "r" | "br" | "cr");
                let hashes = if raw { (i..).take_while(|&j| at(j) == '#').count() } else { 0 };
                if raw && at(i + hashes) == '"' {
                    let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    i += hashes + 1;
                    while i < chars.len()
                        && !chars[i..].iter().take(close.len()).eq(close.chars().collect::<Vec<_>>().iter())
                    {
                        i += 1;
                    }
                    i += close.len();
                } else {
                    out.push((line, text));
                }
            }
            ':' if at(i + 1) == ':' => {
                out.push((line, "::".to_owned()));
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    out.push((line, c.to_string()));
                }
                i += 1;
            }
        }
        line += chars[start..i.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    out
}

fn end_of_string(chars: &[char], open: usize) -> usize {
    let mut i = open + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Removes `#[cfg(test)] mod … { … }`.
fn without_test_modules(tokens: &[(usize, String)]) -> Vec<(usize, String)> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut out = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i..].iter().map(|(_, text)| text.as_str()).take(marker.len()).eq(marker) {
            let mut depth = 0;
            while i < tokens.len() {
                match tokens[i].1.as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                i += 1;
                let ended = matches!(tokens[i - 1].1.as_str(), "}" | ";");
                if ended && depth == 0 {
                    break;
                }
            }
        } else {
            out.push(tokens[i].clone());
            i += 1;
        }
    }
    out
}

/// Returns `file:line: word` for every breach of a rule in one source.
fn breaches(rule: &Rule, file: &str, source: &str) -> Vec<String> {
    let allowed = |place: &str| if place.ends_with('/') { file.starts_with(place) } else { file == place };
    if rule.allowed.iter().any(|place| allowed(place)) {
        return Vec::new();
    }
    let mut tokens = tokens(source);
    if rule.tests_may {
        tokens = without_test_modules(&tokens);
    }
    let mut found = Vec::new();
    for words in rule.words {
        let words: Vec<&str> = words.split(' ').collect();
        for window in tokens.windows(words.len()) {
            if window.iter().map(|(_, text)| text.as_str()).eq(words.iter().copied()) {
                found.push(format!("{file}:{}: {}", window[0].0, words.join(" ")));
            }
        }
    }
    found
}

#[test]
fn every_word_is_where_it_belongs() {
    let mut found = Vec::new();
    for rule in RULES {
        for (file, source) in rule.roots.iter().flat_map(|root| sources(root)) {
            found.extend(breaches(rule, &file, &source).into_iter().map(|breach| format!("{breach} ({})", rule.name)));
        }
    }
    assert!(found.is_empty(), "{} breaches:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_module_says_what_it_is_responsible_for() {
    let missing: Vec<String> = ["api-schema/src", "client/src", "daemon/src", "helper/src", "integration-tests/src"]
        .iter()
        .flat_map(|root| sources(root))
        .filter(|(_, source)| !source.starts_with("//! "))
        .map(|(file, _)| file)
        .collect();
    assert!(missing.is_empty(), "no //! on the first line of {missing:?}");
}

#[test]
fn the_helper_does_not_depend_on_an_async_runtime() {
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).expect("Cargo.lock is committed");
    let lock: toml::Table = lock.parse().expect("Cargo.lock is TOML");
    let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("packages") {
        let names = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        let names = names.filter_map(|name| name.as_str()?.split(' ').next().map(str::to_owned));
        dependencies.entry(package["name"].as_str().expect("a name").to_owned()).or_default().extend(names);
    }
    let reachable = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(name) = next.pop() {
            if seen.insert(name.clone()) {
                next.extend(dependencies.get(&name).into_iter().flatten().cloned());
            }
        }
        seen
    };
    assert!(reachable("pinnaced").contains("tokio"), "this test reads Cargo.lock wrongly");
    let helper = reachable("pinnace-helper");
    for runtime in ["tokio", "async-std", "smol", "futures-executor"] {
        assert!(!helper.contains(runtime), "pinnace-helper depends on {runtime}");
    }
}

#[test]
fn the_rules_notice_a_breach_and_only_a_breach() {
    let source = r##"
//! Nothing here may call std::env::var or fork().
/* unsafe /* nested */ sqlx */
fn quiet<'a>(c: char) -> bool {
    let _text = "unsafe { axum::serve } // SystemTime::now()";
    let _raw = r#"setns(fd) "quoted" unsafe"#;
    c == '"' || c == '\'' || c == 'u'
}
#[cfg(test)]
mod tests { fn now() { SystemTime::now(); } }
"##;
    for rule in RULES {
        assert_eq!(breaches(rule, "daemon/src/engine.rs", source), Vec::<String>::new(), "{}", rule.name);
    }
    let guilty = [
        "use axum::Router;",
        "let row = sqlx :: query!(x);",
        "let x = '\"'; unsafe { y() }",
        "nix::unistd::fork()",
        "std::env::var(\"HOME\")",
        "let now = SystemTime::now();",
    ];
    for (rule, source) in RULES.iter().zip(guilty) {
        assert_eq!(breaches(rule, "daemon/src/engine.rs", source).len(), 1, "{}: {source}", rule.name);
    }
    assert!(breaches(&RULES[0], "daemon/src/http/router.rs", guilty[0]).is_empty());
}
