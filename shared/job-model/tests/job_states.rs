//! `docs/reference/job-states.md` is drawn from the state machine. `just gen` writes it anew.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use job_model::{JobEvent, JobState, step};

const AT: Timestamp = Timestamp::UNIX_EPOCH;

fn page() -> String {
    let mut arrows: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    let mut rows = String::new();
    let place = |wanted: JobState| JobState::ALL.iter().position(|state| *state == wanted).unwrap();
    for state in JobState::ALL {
        for event in JobEvent::all(AT) {
            let Ok(step) = step(state, event, AT) else { continue };
            let effects: Vec<String> = step.effects.iter().map(ToString::to_string).collect();
            let effects = if effects.is_empty() { "nothing".to_owned() } else { effects.join(", ") };
            writeln!(rows, "| {} | {event} | {} | {effects} |", state.as_str(), step.next.as_str()).unwrap();
            if step.next != state {
                arrows.entry((place(state), place(step.next))).or_default().push(event.to_string());
            }
        }
    }
    let mut diagram = String::from("stateDiagram-v2\n    [*] --> CREATED\n");
    for ((from, to), events) in arrows {
        let (from, to) = (JobState::ALL[from].as_str(), JobState::ALL[to].as_str());
        writeln!(diagram, "    {from} --> {to}: {}", events.join(" / ")).unwrap();
    }
    for state in JobState::ALL.into_iter().filter(|state| state.is_terminal()) {
        writeln!(diagram, "    {} --> [*]", state.as_str()).unwrap();
    }
    format!(
        "# Job states\n\n\
         <!-- Generated from shared/job-model/src/step.rs by its test `job_states`. `just gen` writes it anew. -->\n\n\
         The planner moves every job through these states with one pure function. What is not in the table cannot happen \
         in that state;\nafter an end nothing follows.\n\n\
         ```mermaid\n{diagram}```\n\n\
         | state | event | next | effects |\n|---|---|---|---|\n{rows}"
    )
}

#[test]
fn the_page_of_job_states_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/job-states.md");
    if std::env::var_os("HOLDFAST_GENERATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/reference/job-states.md is stale; type: just gen");
}

#[test]
fn every_state_is_reached_and_every_open_state_is_left() {
    let mut reached = BTreeSet::from([JobState::Created]);
    loop {
        let before = reached.len();
        for state in reached.clone() {
            reached.extend(JobEvent::all(AT).into_iter().filter_map(|e| step(state, e, AT).ok()).map(|s| s.next));
        }
        if reached.len() == before {
            break;
        }
    }
    assert_eq!(reached, JobState::ALL.into_iter().collect());
    for state in JobState::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let leaves = JobEvent::all(AT).into_iter().any(|e| step(state, e, AT).is_ok_and(|s| s.next != state));
        assert!(leaves, "{state:?}");
    }
}
