//! Where settings come from, and which goes over which.

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::Serialize;

use super::Config;

/// A key that is not known, or a value that does not fit; says which, and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct BadConfig(Box<figment::Error>);

/// The file if there is one, over it the environment (`FUGITIVE_LIMITS__PEERS_PER_ADDRESS` is
/// `limits.peers-per-address`), over it `set`, which are lines of TOML, over it `flags`.
pub fn read(
    file: Option<&std::path::Path>,
    set: &[String],
    flags: impl Serialize,
) -> Result<Config, BadConfig> {
    let mut figment = Figment::new();
    if let Some(file) = file {
        figment = figment.merge(Toml::file_exact(file));
    }
    let environment = Env::prefixed("FUGITIVE_")
        .ignore(&["config"])
        .map(|key| key.as_str().replace("__", ".").replace('_', "-").into());
    figment = figment.merge(environment);
    for line in set {
        figment = figment.merge(Toml::string(&quoted(line)));
    }
    figment
        .merge(Serialized::defaults(flags))
        .extract()
        .map_err(|error| BadConfig(error.into()))
}

/// `key=value` as TOML, whose strings need quotes that a shell would eat.
fn quoted(line: &str) -> String {
    match line.split_once('=') {
        Some((key, value)) if line.parse::<toml::Table>().is_err() => {
            format!("{key}={}", toml::Value::String(value.trim().into()))
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::PathBuf};

    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Limits, REFERENCE};

    fn keys(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
        let Value::Object(table) = value else {
            found.insert(prefix.to_owned());
            return;
        };
        for (key, value) in table {
            let dot = if prefix.is_empty() { "" } else { "." };
            keys(value, &format!("{prefix}{dot}{key}"), found);
        }
    }

    fn keys_of(value: &Value) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        keys(value, "", &mut found);
        found
    }

    /// The reference with the keys that have no default, which are in comments that begin with `#`
    /// and no space.
    fn whole_reference() -> String {
        let lines = REFERENCE.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn reference_says_the_defaults() {
        let said: Config = toml::from_str(REFERENCE).unwrap();
        assert_eq!(said, Config::default());
    }

    #[test]
    fn reference_names_every_key_and_no_other() {
        let whole = whole_reference();
        let read: Config = toml::from_str(&whole).unwrap();
        let named: toml::Table = whole.parse().unwrap();
        let named = keys_of(&serde_json::to_value(named).unwrap());
        assert_eq!(named, keys_of(&serde_json::to_value(read).unwrap()));
    }

    #[test]
    fn flags_go_over_settings_and_these_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.toml");
        std::fs::write(
            &file,
            "site = \"a\"\nlog = \"debug\"\nlog-addresses = true\n",
        )
        .unwrap();
        let set = [
            "site=b/c".to_owned(),
            "limits.peers-per-address=7".to_owned(),
        ];
        let read = read(Some(&file), &set, json!({"site": "d"})).unwrap();
        assert_eq!(read.site, PathBuf::from("d"));
        assert_eq!(read.log, "debug");
        assert!(read.log_addresses);
        assert_eq!(read.limits.peers_per_address, 7);
        assert_eq!(
            read.limits.joins_per_address,
            Limits::default().joins_per_address
        );
    }

    #[test]
    fn limit_of_manners_is_known_by_either_spelling_and_else_refused_by_name() {
        let set = |line: &str| read(None, &[line.to_owned()], json!({})).unwrap();
        let policy = set("policy.manners.hidden-upload=7").stated_policy();
        assert_eq!(policy.unwrap().manners.hidden_upload, 7);
        let policy = set("policy.manners.hidden_upload=7").stated_policy();
        assert_eq!(policy.unwrap().manners.hidden_upload, 7);
        let refused = set("policy.manners.uplaod=7").stated_policy().unwrap_err();
        assert!(refused.to_string().contains("uplaod"));
    }

    #[test]
    fn unknown_key_bad_value_and_missing_file_are_refused_by_name() {
        let refused = |line: &str| {
            read(None, &[line.to_owned()], json!({}))
                .unwrap_err()
                .to_string()
        };
        assert!(refused("limits.peers=7").contains("peers"));
        assert!(refused("listen=here").contains("listen"));
        let missing = std::path::Path::new("/nowhere.toml");
        let error = read(Some(missing), &[], json!({})).unwrap_err();
        assert!(error.to_string().contains("nowhere"));
    }
}
