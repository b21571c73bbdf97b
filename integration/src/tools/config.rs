//! `campanile config`: prints the documented settings file, or checks one.

#![expect(clippy::print_stdout, reason = "a tool prints what it was asked for")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use super::example;
use crate::cli::{self, ConfigArgs, ServiceArgs};
use crate::exposure::{self, SERVICES, Service};
use crate::live::NewState;
use crate::logging::last_line;
use crate::settings::{self, Scalar};

/// The exit code of a file that is wrong.
const WRONG: u8 = 2;

/// Prints or checks a file.
pub fn run(args: &ConfigArgs) -> ExitCode {
    let Some(file) = &args.check else {
        print!("{}", example::text(&cli::all_flags()));
        return ExitCode::SUCCESS;
    };
    let errors = check(file);
    if errors.is_empty() {
        println!("{}: everything is valid", file.display());
        return ExitCode::SUCCESS;
    }
    errors.iter().for_each(|error| last_line(&format!("error: {error}")));
    ExitCode::from(WRONG)
}

/// Everything that is wrong with a file, the environment, and what they name.
fn check(file: &Path) -> Vec<String> {
    let read = match cli::read_settings(file) {
        Ok(read) => read,
        Err(errors) => return errors.iter().map(ToString::to_string).collect(),
    };
    let services = match cli::without_flags(&read.scalars) {
        Ok(services) => services,
        Err(errors) => return errors,
    };
    let mut errors = Vec::new();
    for args in services {
        let mut wrong = args.contradictions();
        match NewState::read(&read.settings, &args) {
            Ok(state) => wrong.extend(too_open(&args, &state)),
            Err(invalid) => wrong.extend(invalid.0),
        }
        let names: Vec<_> = SERVICES.into_iter().filter(|service| args.has(*service)).collect();
        let is_own = |scalar: &&Scalar| {
            names.iter().any(|service| scalar.key.starts_with(&format!("[{}] ", service.name())))
        };
        let own = || read.scalars.iter().filter(is_own);
        errors.extend(wrong.iter().map(|error| settings::with_places(error, own(), file)));
    }
    // What several services need is wrong for each of them.
    let mut seen = BTreeSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    errors
}

/// The services that would not start because they would be open to others.
fn too_open(args: &ServiceArgs, state: &NewState) -> Vec<String> {
    let listens = |service| match service {
        Service::Broker => args.broker.as_ref().map(|args| (&args.listen, args.open)),
        Service::Gateway => args.gateway.as_ref().map(|args| (&args.listen, args.open)),
        Service::Publisher => args.publisher.as_ref().map(|args| (&args.listen, args.open)),
    };
    let check = |service| {
        let (listen, open) = listens(service)?;
        // What a name stands for may be known only where the service runs.
        let addresses = listen.addresses().ok()?;
        let is_authenticated = state.is_authenticated(service);
        let checked = exposure::check(service, &addresses, is_authenticated, open, false);
        checked.err().map(|error| format!("{}: {error}", service.name()))
    };
    SERVICES.into_iter().filter_map(check).collect()
}
