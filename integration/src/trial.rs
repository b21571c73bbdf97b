//! What the bytes of a settings file end in, on any host: no other file is read, and no name is looked up.
//! For the fuzz target.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::cli;
use crate::settings::{self, Settings};

/// Stands for every file that the settings name.
const EMPTY_FILE: &str = "/dev/null";

static FLAGS: LazyLock<clap::Command> = LazyLock::new(cli::all_flags);

/// Everything that is wrong with a settings file that has these bytes, in a line each; nothing if a process
/// could go on with it. `file` is only for these lines.
pub fn wrong_settings(file: &Path, bytes: &[u8]) -> Vec<String> {
    let read = match settings::parse(file, bytes, &FLAGS) {
        Ok(read) => read,
        Err(errors) => return errors.iter().map(ToString::to_string).collect(),
    };
    let mut wrong = match cli::without_flags(&read.scalars) {
        Ok(services) => services.iter().flat_map(cli::ServiceArgs::contradictions).collect(),
        Err(errors) => errors,
    };
    wrong = wrong.iter().map(|line| settings::with_places(line, &read.scalars, file)).collect();
    let settings = with_empty_files(read.settings);
    let lines = |wrong| settings.places.lines(wrong);
    let tokens = settings.tokens.access(None, settings.guests.as_ref(), 100);
    wrong.extend(tokens.map_err(lines).err().unwrap_or_default());
    let keys = settings::keys::keys(&settings.keys, 0);
    wrong.extend(keys.map_err(lines).err().unwrap_or_default());
    wrong.extend(settings.log.format(&settings.places).err());
    wrong.extend(settings.log.filter(None, &settings.places).err());
    wrong
}

fn with_empty_files(mut settings: Settings) -> Settings {
    let (tokens, keys) = (&mut settings.tokens, &mut settings.keys);
    let entries = tokens.keys.iter_mut();
    let files = entries.flat_map(|key| [&mut key.secret_file, &mut key.public_key_file]);
    let files = files.chain([&mut tokens.jwks_file]);
    let files = files.chain(keys.iter_mut().map(|key| &mut key.secret_file));
    files.flatten().for_each(|file| *file = PathBuf::from(EMPTY_FILE));
    settings
}
