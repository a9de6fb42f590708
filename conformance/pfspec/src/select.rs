//! Which cases: globs over their names, and what was probably meant by a name that is none.

use crate::case::{Case, Way};
use crate::exit::Failure;
use crate::run::name_of;

/// Whether a pattern, in which `*` stands for any characters and `?` for one, is a whole text.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Where the last `*` was, and where the text was then: all that has to be remembered.
    let (mut p, mut t, mut star) = (0, 0, None);
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(one) if *one == '?' || one == c => {
                p += 1;
                t += 1;
            }
            _ => match star {
                None => return false,
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Whether a word of the command line or of an expectation means a case on a way: an id, a group of ids, or a glob,
/// each with or without `@WAY`.
#[must_use]
pub fn means(word: &str, case: &Case, way: Way) -> bool {
    let (ids, ways) = word.split_once('@').unwrap_or((word, "*"));
    let group = ids.trim_end_matches('/');
    let in_group = case
        .id
        .strip_prefix(group)
        .is_some_and(|rest| rest.starts_with('/'));
    glob(ways, way.name()) && (glob(ids, case.id) || in_group)
}

/// Whether a word names this case alone.
#[must_use]
pub fn is_exact(word: &str, case: &Case) -> bool {
    word.split_once('@').map_or(word, |(id, _)| id) == case.id
}

/// Checks that a word means something.
///
/// # Errors
/// Usage, naming what is near.
pub fn check(word: &str, catalogue: &[Case]) -> Result<(), Failure> {
    let means_any = catalogue
        .iter()
        .any(|case| case.ways.iter().any(|way| means(word, case, *way)));
    if means_any {
        return Ok(());
    }
    let advice = advice(word, catalogue, Vec::new());
    Err(Failure::usage(format!(
        "no case is named {word:?}; {advice}"
    )))
}

/// What helps whoever has written a word that means nothing. `others` are near it and no cases.
#[must_use]
pub fn advice(word: &str, catalogue: &[Case], mut others: Vec<String>) -> String {
    others.extend(near(word, catalogue));
    if word.contains(':') {
        "a URL begins with http:// or https://".to_owned()
    } else if others.is_empty() {
        "`pfspec list` shows all".to_owned()
    } else {
        format!("did you mean {}?", others.join(", "))
    }
}

/// Up to three names of cases or groups near a word.
fn near(word: &str, catalogue: &[Case]) -> Vec<String> {
    let plain = word.replace(['*', '?'], "");
    let plain = plain.trim_end_matches('/');
    let with_way = plain.contains('@');
    let mut names: Vec<String> = Vec::new();
    for case in catalogue {
        if with_way {
            names.extend(case.ways.iter().map(|way| name_of(case, *way)));
        } else {
            let ends = case.id.match_indices('/').map(|(end, _)| end);
            let groups = ends.filter_map(|end| case.id.get(..end));
            names.extend(groups.chain([case.id]).map(str::to_owned));
        }
    }
    let mut all: Vec<(usize, usize, String)> = Vec::new();
    for name in names {
        let is_part = !plain.is_empty() && name.contains(plain);
        // Who names the last word of an id alone may have misspelt it as well.
        let last = name.rsplit('/').next().unwrap_or_default();
        let typos = [name.as_str(), last].into_iter().filter_map(|name| {
            let distance = strsim::levenshtein(plain, name);
            (distance <= name.len().max(plain.len()) / 3).then_some(distance)
        });
        // What it is part of is as near as what a typo makes of it.
        if let Some(distance) = is_part.then_some(1).or_else(|| typos.min()) {
            all.push((distance, name.len(), name));
        }
    }
    all.sort();
    all.dedup();
    all.into_iter().take(3).map(|(.., name)| name).collect()
}

/// Part `number` of `of` parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl Shard {
    /// Whether what stands at `index` of the whole list belongs to this part.
    #[must_use]
    pub fn has(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("a part of the whole, such as 2/3".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("spdy/*", "spdy/frame/x", true),
            ("spdy/*/x", "spdy/frame/x", true),
            ("spdy/*/x", "spdy/frame/xx", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "abab", true),
            ("?b", "ab", true),
            ("?b", "b", false),
            ("", "", true),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(glob(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn shards_are_a_partition() {
        for of in 1..7 {
            for index in 0..100 {
                let owners = (1..=of).filter(|number| {
                    let shard = Shard {
                        number: *number,
                        of,
                    };
                    shard.has(index)
                });
                assert_eq!(owners.count(), 1);
            }
        }
        for bad in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/2/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_groups() {
        let catalogue = crate::catalogue::all();
        let case = catalogue
            .iter()
            .find(|case| case.id == "spdy/frame/joined")
            .unwrap_or_else(|| unreachable!("a case that is there"));
        for word in [
            "spdy/frame/joined",
            "spdy/frame/joined@tunnel",
            "spdy/frame",
            "spdy/",
            "*joined",
            "*@tunnel",
            "spdy/frame@t*",
        ] {
            assert!(means(word, case, Way::Tunnel), "{word}");
        }
        for word in [
            "spdy/frame/join",
            "spdy/fram",
            "*@spdy",
            "spdy/frame/joined@spdy",
        ] {
            assert!(!means(word, case, Way::Tunnel), "{word}");
        }
        for (word, near) in [
            ("spdy/frame/joind", "did you mean spdy/frame/joined"),
            ("spdy/fram", "did you mean spdy/frame,"),
            ("spdy/frme/*", "did you mean spdy/frame"),
            ("joine", "did you mean ws/frame/joined, spdy/frame/joined"),
            ("joind", "did you mean ws/frame/joined, spdy/frame/joined"),
            ("frobnicate", "`pfspec list` shows all"),
            ("localhost:8080", "a URL begins with http:// or https://"),
        ] {
            let text = check(word, &catalogue).err().map(|error| error.text);
            assert!(
                text.as_ref().is_some_and(|text| text.contains(near)),
                "{text:?}"
            );
        }
    }
}
