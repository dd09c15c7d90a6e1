//! The house's rules that a compiler does not check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each layer with the layers it may import from, besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("wire", &["sys"]),
    ("task", &["wire"]),
    ("session", &["task", "wire"]),
    ("link", &["session", "wire", "sys"]),
    ("log", &["task", "sys"]),
    ("hub", &["wire", "sys"]),
    ("process", &["hub", "log", "link", "session", "task", "wire", "sys"]),
    ("sync", &["hub", "process", "wire", "sys"]),
    ("shared", &["sync", "hub", "process", "link", "wire", "sys"]),
    ("channel", &["hub", "process", "link", "task", "wire", "sys"]),
    ("manager", &["pool", "channel", "hub", "process", "link", "task", "wire", "sys"]),
    ("pool", &["hub", "process", "log", "link", "session", "task", "wire", "sys"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn layer(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).ok()?;
    let mut parts = inside.components();
    let first = parts.next()?.as_os_str().to_str()?.to_owned();
    parts.next().map(|_| first)
}

/// Code without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn imports_point_down() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(layer) = layer(&path) else { continue };
        let Some(allowed) = layers.get(layer.as_str()) else {
            wrong.push(format!("{}: folder {layer} is no layer", path.display()));
            continue;
        };
        for (number, line) in code(&text) {
            for (at, _) in line.match_indices("crate::") {
                let target: String = line[at + 7..]
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let known = layers.contains_key(target.as_str());
                if known && target != layer && !allowed.contains(&target.as_str()) {
                    wrong.push(format!("{}:{number}: {layer} imports {target}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_and_platforms_stay_at_the_bottom() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let layer = layer(&path).unwrap_or_default();
        let bottom = layer == "sys";
        let platform = bottom || path.parent().is_some_and(|dir| dir.ends_with("link/local"));
        for (number, line) in code(&text) {
            let place = || format!("{}:{number}: {}", path.display(), line.trim());
            let has_unsafe =
                ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|u| line.contains(u));
            if has_unsafe && !bottom {
                wrong.push(place());
            }
            if (line.contains("cfg(unix)") || line.contains("cfg(windows)")) && !platform {
                wrong.push(place());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_unsafe_block_gives_its_reason() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let is_unsafe = line.contains("unsafe {") || line.contains("unsafe impl");
            if !is_unsafe || line.trim_start().starts_with("//") {
                continue;
            }
            let reasoned = lines[i.saturating_sub(6)..i].iter().any(|l| l.contains("SAFETY:"));
            if !reasoned {
                wrong.push(format!("{}:{}: {}", path.display(), i + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// About 400 lines without tests; from 800 on a file says why.
#[test]
fn long_files_say_why() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let body = text.split("\n#[cfg(test)]").next().unwrap_or(&text);
        if body.lines().count() > 800 && !text.contains("// Long because") {
            wrong.push(format!("{}: {} lines", path.display(), body.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
