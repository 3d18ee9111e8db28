//! Every fault of either process at every step, one table.

mod scene;
mod table;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
    time::Duration,
};

use table::{Cell, FAULTS, Fault, POINTS, Point, Side, expected};

use crate::support::{clock::now, intermediary, is_root};

/// Cells that are played at the same time: most wait most of the time.
const AT_ONCE: usize = 12;

#[test]
fn every_fault_of_either_process_at_every_step() {
    let began = now();
    let mut cells = Vec::new();
    for side in [Side::New, Side::Old] {
        for point in POINTS {
            cells.extend(FAULTS.map(|fault| Cell { side, point, fault }));
        }
    }
    let root = is_root("the rows of the full disk");
    let mut queue: Vec<(usize, Cell)> = cells.iter().copied().enumerate().collect();
    // Those that wait for the longest deadline come first.
    queue.sort_by_key(|(_, cell)| !waits_long(*cell));
    let (queue, lines) = (Mutex::new(VecDeque::from(queue)), Mutex::new(vec![None; cells.len()]));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((place, cell)) = { queue.lock().expect("no panic").pop_front() } {
                    let line = play(cell, root);
                    lines.lock().expect("no panic")[place] = Some(line);
                }
            });
        }
    });
    let lines: Vec<Line> = lines.into_inner().expect("no panic").into_iter().flatten().collect();
    for Line { text, .. } in &lines {
        println!("{text}");
    }
    println!("{} cells in {:.1} s", lines.len(), now().duration_since(began).as_secs_f64());
    let bad: Vec<&str> = lines.iter().filter(|line| !line.good).map(|line| line.text.as_str()).collect();
    assert!(bad.is_empty(), "{} cells are not as they should be:\n{}", bad.len(), bad.join("\n"));
    assert_eq!(lines.len(), cells.len(), "every cell was played");
}

fn waits_long(cell: Cell) -> bool {
    let early = matches!(cell.point, Point::BeforeSockets | Point::BeforeReady);
    cell.side == Side::New && early && matches!(cell.fault, Fault::Stop | Fault::Hang)
}

#[derive(Debug, Clone)]
struct Line {
    good: bool,
    text: String,
}

fn play(cell: Cell, root: bool) -> Line {
    let outcome = match expected(cell) {
        Ok(_) if cell.fault == Fault::FullDisk && !root => {
            return Line { good: true, text: format!("-     {cell}  not played: needs root") };
        }
        Ok(outcome) => outcome,
        Err(why) => return Line { good: true, text: format!("-     {cell}  {why}") },
    };
    let began = now();
    match catch_unwind(AssertUnwindSafe(|| scene::play(cell, outcome))) {
        Ok(told) => {
            let took: Duration = now().duration_since(began);
            Line { good: true, text: format!("ok    {cell}  {told}; {:.1} s", took.as_secs_f64()) }
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Line { good: false, text: format!("FAIL  {cell}  {}", text.unwrap_or_default()) }
        }
    }
}

/// Not a test: what a new binary is started as.
#[test]
#[ignore = "started by a netd in the place of its successor"]
fn the_new_binary() {
    intermediary::become_successor();
}
