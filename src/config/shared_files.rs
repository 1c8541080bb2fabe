//! The shared files of the SDKs, `~/.aws/credentials` and `~/.aws/config`: whether boto3 finds credentials in them before it
//! would ask IMDS.
//!
//! Read once, at the start. Only which keys a profile has is kept, and no value. By hand, because what counts is what Python's
//! `configparser` makes of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::variables::Raw;

/// A larger file is not one that people write.
const LARGEST: u64 = 1024 * 1024;

/// What boto3 does with its profile. Each of the first two may also be an error that it raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// It assumes a role, or its files cannot be read: before it looks at any variable but those of static keys.
    AssumesRole,
    /// It takes credentials from the files, a program or a sign-on: after a web identity, before those of a container.
    Provides,
    /// It assumes a role with the credentials of IMDS.
    AssumesRoleFromImds,
    /// It goes on.
    Nothing,
}

/// The keys of each section, with [`FROM_IMDS`] among them where it applies; no value.
type Sections = BTreeMap<String, BTreeSet<String>>;

/// botocore takes credentials from a profile that has one of these. `login_session` is known to its newest versions only.
const PROVIDING: [&str; 6] = [
    "aws_access_key_id",
    "credential_process",
    "sso_account_id",
    "sso_role_name",
    "web_identity_token_file",
    "login_session",
];

/// Stands for a line that names IMDS as the source of the credentials with which a role is assumed.
const FROM_IMDS: &str = "credential_source = ec2instancemetadata";

/// What boto3 does with the files and the profile that the variables name.
pub(super) fn profile_in_use(raw: &Raw, home: Option<&Path>) -> Profile {
    let read = |path: &Option<String>, default| read(path.as_deref().unwrap_or(default), home);
    // In this order to botocore.
    let name = raw.aws_default_profile.as_deref().or(raw.aws_profile.as_deref());
    let credentials = read(&raw.aws_shared_credentials_file, "~/.aws/credentials");
    match (credentials, read(&raw.aws_config_file, "~/.aws/config")) {
        (Some(credentials), Some(config)) => profile(name, credentials, config),
        // It cannot be parsed.
        _ => Profile::AssumesRole,
    }
}

/// What does not exist, is no regular file or cannot be read is empty to botocore; `None` if it raises an error.
fn read(path: &str, home: Option<&Path>) -> Option<Sections> {
    let path = match (path.strip_prefix("~/"), home) {
        (Some(path), Some(home)) => home.join(path),
        (Some(_), None) => return Some(Sections::new()),
        (None, _) => PathBuf::from(path),
    };
    // Opening a pipe that nobody writes to would block.
    let is_file = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
    let Some(file) = is_file.then(|| File::open(&path).ok()).flatten() else { return Some(Sections::new()) };
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content).ok().filter(|length| *length as u64 <= LARGEST)?;
    sections(std::str::from_utf8(&content).ok()?)
}

/// The decision. In `config`, a profile but the default one is called `profile NAME`.
fn profile(name: Option<&str>, credentials: Sections, config: Sections) -> Profile {
    let in_use = name.unwrap_or("default");
    let config = config.into_iter().filter_map(|(section, keys)| Some((profile_name(&section)?.to_owned(), keys)));
    let mut profiles: Sections = BTreeMap::new();
    for (name, keys) in config.chain(credentials) {
        profiles.entry(name).or_default().extend(keys);
    }
    let Some(keys) = profiles.get(in_use) else {
        // A profile that is asked for must exist.
        return if name.is_some() { Profile::AssumesRole } else { Profile::Nothing };
    };
    let has = |key: &str| keys.contains(key);
    if has("role_arn") && !has("web_identity_token_file") {
        // Also by way of another profile.
        let from_imds = profiles.values().any(|keys| keys.contains(FROM_IMDS));
        return if from_imds { Profile::AssumesRoleFromImds } else { Profile::AssumesRole };
    }
    if PROVIDING.into_iter().any(has) { Profile::Provides } else { Profile::Nothing }
}

fn profile_name(section: &str) -> Option<&str> {
    match section.strip_prefix("profile") {
        None => (section == "default").then_some(section),
        Some(name) => {
            let name = name.strip_prefix([' ', '\t'])?.trim();
            let unquoted = ['"', '\''].iter().find_map(|quote| name.strip_prefix(*quote)?.strip_suffix(*quote));
            Some(unquoted.unwrap_or(name))
        }
    }
}

/// As `configparser.RawConfigParser` reads it; `None` if that raises an error.
fn sections(text: &str) -> Option<Sections> {
    let mut sections = Sections::new();
    let mut defaults = BTreeSet::new();
    let mut section: Option<String> = None;
    // The indentation of the last key, whose value goes on in lines that are indented further.
    let mut key_at: Option<usize> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        let indentation = line.len() - line.trim_start().len();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || key_at.is_some_and(|at| indentation > at) {
            continue;
        }
        key_at = None;
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| Some(rest.rsplit_once(']')?.0)) {
            let is_new = name == "DEFAULT" || sections.insert(name.to_owned(), BTreeSet::new()).is_none();
            section = Some(name.to_owned()).filter(|_| is_new && !name.is_empty());
            section.as_ref()?;
            continue;
        }
        let (key, value) = trimmed.split_once(['=', ':'])?;
        let key = key.trim().to_lowercase();
        let keys = sections.get_mut(section.as_ref()?).unwrap_or(&mut defaults);
        if key == "credential_source" && value.trim().eq_ignore_ascii_case("Ec2InstanceMetadata") {
            keys.insert(FROM_IMDS.to_owned());
        }
        if key.is_empty() || !keys.insert(key) {
            return None;
        }
        key_at = Some(indentation);
    }
    for keys in sections.values_mut() {
        keys.extend(defaults.iter().cloned());
    }
    Some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(name: Option<&str>, credentials: &str, config: &str) -> Profile {
        match (sections(credentials), sections(config)) {
            (Some(credentials), Some(config)) => profile(name, credentials, config),
            _ => Profile::AssumesRole,
        }
    }

    /// `credential_chain.rs` compares the same with boto3.
    #[test]
    fn a_profile_provides_credentials_as_botocore_reads_it() {
        const KEYS: &str = "aws_access_key_id = AKIA\naws_secret_access_key = x\n";
        let section = |name: &str, keys: &str| format!("[{name}]\n{keys}");
        let from_imds = section("profile a", "role_arn = x\nCredential_Source: ec2instancemetadata\n");
        for (name, credentials, config, expected) in [
            (None, "", "", Profile::Nothing),
            (None, &*section("default", KEYS), "", Profile::Provides),
            (None, &section("DEFAULT", &(KEYS.to_owned() + "[default]\n")), "", Profile::Provides),
            (None, &section("default", "region = aws_access_key_id = x\n"), "", Profile::Nothing),
            (None, &section("default", "s3 =\n  aws_access_key_id = x\n"), "", Profile::Nothing),
            (None, &section("a", KEYS), "", Profile::Nothing),
            (Some("a"), &section("a", KEYS), "", Profile::Provides),
            (Some("b"), &section("a", KEYS), "", Profile::AssumesRole),
            (Some("default"), "", "", Profile::AssumesRole),
            (None, "", &section("default", "credential_process = x\n"), Profile::Provides),
            (None, "", &section("profile default", "sso_account_id = 1\n"), Profile::Provides),
            (
                Some("a b"),
                "",
                &section("profile \"a b\"", "web_identity_token_file=x\nrole_arn=x\n"),
                Profile::Provides,
            ),
            (Some("a"), "", &section("a", KEYS), Profile::AssumesRole),
            (None, "", &section("default", "role_arn = x\nsource_profile = a\n"), Profile::AssumesRole),
            (Some("a"), "", &from_imds, Profile::AssumesRoleFromImds),
            (None, &section("default", "role_arn = x\nsource_profile = a\n"), &from_imds, Profile::AssumesRoleFromImds),
            (None, "", &from_imds, Profile::Nothing),
            // Mistakes, at which botocore raises.
            (None, "aws_access_key_id = x\n", "", Profile::AssumesRole),
            (None, "[default]\nno delimiter\n", "", Profile::AssumesRole),
            (None, "[default]\nregion = x\nregion = x\n", "", Profile::AssumesRole),
            (None, "[a]\n[a]\n", "", Profile::AssumesRole),
            (None, "[]\n", "", Profile::AssumesRole),
            (None, "[default]\n= x\n", "", Profile::AssumesRole),
        ] {
            assert_eq!(decided(name, credentials, config), expected, "{name:?} in {credentials:?} and {config:?}");
        }
    }
}
