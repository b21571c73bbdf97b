//! The files that are read again at SIGHUP.

use std::path::Path;

use crate::cli::ServiceArgs;
use crate::settings::Settings;

/// The files that settings and flags name, for the services that run here.
fn files<'a>(settings: &'a Settings, args: &'a ServiceArgs) -> Vec<&'a Path> {
    let (mut files, links) = (Vec::new(), &args.links);
    files.extend(args.cluster_secret.as_ref().map(|secret| &secret.file));
    files.extend([&links.authorities, &links.cert, &links.key]);
    if let Some(gateway) = &args.gateway {
        files.extend([&gateway.token_keys, &gateway.tls_cert, &gateway.tls_key]);
        files.push(&settings.tokens.jwks_file);
        let keys = settings.tokens.keys.iter();
        files.extend(keys.flat_map(|key| [&key.secret_file, &key.public_key_file]));
    }
    if let Some(publisher) = &args.publisher {
        files.extend([&publisher.tls_cert, &publisher.tls_key]);
        files.extend(settings.keys.iter().map(|key| &key.secret_file));
    }
    let mut files: Vec<_> = files.into_iter().filter_map(|file| file.as_deref()).collect();
    if args.gateway.is_some() || args.publisher.is_some() {
        let pairs = settings.tls.certificates.iter();
        files.extend(pairs.flat_map(|pair| [&*pair.cert, &*pair.key]));
    }
    files
}

/// Checks that the files can be read again: a pipe may have no writer any more, and to open it waits for one
/// for ever. What does not exist is left to those who read it.
///
/// # Errors
/// A sentence for each that is no regular file.
pub fn check(settings: &Settings, args: &ServiceArgs) -> Result<(), Vec<String>> {
    let wrong: Vec<_> = files(settings, args)
        .into_iter()
        .filter(|file| *file == Path::new("-") || file.metadata().is_ok_and(|meta| !meta.is_file()))
        .map(no_regular_file)
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// What is said of such a file.
pub fn no_regular_file(file: &Path) -> String {
    format!("{}: this is no regular file (any more)", file.display())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use toml::from_str;

    use super::*;
    use crate::cli::{self, Cli};

    /// The flags of a command line.
    fn args(line: &str) -> ServiceArgs {
        let matches = cli::all_flags().try_get_matches_from(line.split(' ')).expect("valid");
        ServiceArgs::of(&Cli::from_arg_matches(&matches).expect("valid").command)
    }

    fn shown(settings: &str, line: &str) -> String {
        let settings: Settings = from_str(settings).expect("valid");
        let args = args(line);
        let names = files(&settings, &args).into_iter().map(|file| file.display().to_string());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_files_are_those_of_the_services_that_run_here() {
        let settings = "\
            [tokens]\njwks_file = \"j\"\n[[tokens.keys]]\nsecret_file = \"s\"\n\
            [[tokens.keys]]\npublic_key_file = \"p\"\n\
            [[keys]]\nname = \"a\"\nscopes = []\nsecret_file = \"a\"\n\
            [[tls.certificates]]\ncert = \"c\"\nkey = \"k\"\n";
        let gateway = "campanile gateway --token-keys=1 --tls-cert=2 --tls-key=3 --secret-file=4 \
                       --broker-ca=5 --link-cert=6 --link-key=7";
        assert_eq!(shown(settings, gateway), "4 5 6 7 1 2 3 j s p c k");
        let publisher = "campanile publisher --tls-cert=1 --tls-key=2";
        assert_eq!(shown(settings, publisher), "1 2 a c k");
        let broker = "campanile broker --tls-cert=1 --tls-key=2 --client-ca=3";
        assert_eq!(shown(settings, broker), "3 1 2");
        assert_eq!(shown(settings, "campanile up --secret-file=1"), "1 j s p a c k");
        assert_eq!(shown("", "campanile up"), "");
    }

    #[test]
    fn standard_input_and_devices_are_not_read_again() {
        for (file, is_good) in [("-", false), ("/dev/null", false), ("/nonexistent", true)] {
            let args = args(&format!("campanile broker --secret-file={file}"));
            let checked = check(&Settings::default(), &args);
            assert_eq!(checked.is_ok(), is_good, "{checked:?}");
            let said = checked.err().unwrap_or_default().concat();
            assert!(is_good || said == format!("{file}: this is no regular file (any more)"));
        }
    }
}
