//! One fault under load, from the start of the cluster to the verdict.

use std::sync::Mutex;
use std::time::Duration;

use super::load::Load;
use super::seed::Seed;
use super::stage::{Setup, Stage};
use super::table::{Row, Table};

/// Scenarios need all processors, so they run one at a time.
static STAGE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The scenarios that have run in this process.
static TABLE: Mutex<Table> = Mutex::new(Table { rows: Vec::new() });

/// How long the load runs before a fault, and after all clients have recovered from it.
const STEADY: Duration = Duration::from_secs(2);

/// Runs a scenario: a steady load, a fault that has passed when `hurt` returns, a steady load. Then each
/// client must have got exactly what was accepted, without any gap.
#[expect(clippy::print_stdout, reason = "the table that the documentation has")]
pub async fn scenario(name: &str, setup: Setup, hurt: impl AsyncFnOnce(&mut Stage, &Load)) {
    let _alone = STAGE.lock().await;
    let mut stage = Stage::set(setup, Seed::from_environment()).await;
    let load = stage.load();
    load.more_accepted(stage.pushes_in(STEADY)).await;
    hurt(&mut stage, &load).await;
    let passed = stage.now();
    let recovery = stage.crowd.caught_up(passed).await;
    load.more_accepted(stage.pushes_in(STEADY)).await;
    let verdict = stage.judge(load).await;

    let row = Row { name: name.to_owned(), verdict: verdict.clone(), recovery: recovery.into() };
    let table = {
        let mut table = TABLE.lock().expect("no panic");
        table.rows.push(row);
        table.to_string()
    };
    println!("{} greetings\n{table}", stage.crowd.greetings());
    assert!(verdict.is_clean(), "{:#?}", verdict.told);
    assert!(recovery.is_some(), "not everyone has recovered");
    assert_eq!(verdict.explained_gaps, 0, "nothing needs to be lost here");
}
