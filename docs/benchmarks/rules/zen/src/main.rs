//! Evaluates a GoRules decision for the comparison of docs/benchmarks/rules.md.
//!
//! zenbench RULES.json INPUTS.json: prints one line with the result of each input, then answers each line
//! "N" on its standard input with the processor nanoseconds of N evaluations, the inputs in turn.
use std::io::{self, BufRead, Write};
use std::{env, fs};

use serde_json::Value;
use zen_engine::model::GraphContent;
use zen_engine::Decision;

fn processor_nanoseconds() -> i64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut at) };
    at.tv_sec as i64 * 1_000_000_000 + at.tv_nsec as i64
}

fn main() {
    let args: Vec<String> = env::args().collect();
    let rules: GraphContent = serde_json::from_str(&fs::read_to_string(&args[1]).expect("the rules")).expect("rules are JSON");
    let inputs: Vec<Value> = serde_json::from_str(&fs::read_to_string(&args[2]).expect("the inputs")).expect("inputs are JSON");
    let inputs: Vec<zen_engine::Variable> = inputs.into_iter().map(Into::into).collect();
    let mut decision = Decision::from(rules);
    decision.compile();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

    let results: Vec<Value> = inputs
        .iter()
        .map(|input| runtime.block_on(decision.evaluate(input.clone())).expect("a result").result.to_value())
        .collect();
    println!("{}", serde_json::to_string(&results).expect("JSON"));
    io::stdout().flush().expect("standard output");

    for line in io::stdin().lock().lines() {
        let rounds: usize = line.expect("a line").trim().parse().expect("a number");
        let began = processor_nanoseconds();
        runtime.block_on(async {
            for n in 0..rounds {
                std::hint::black_box(decision.evaluate(inputs[n % inputs.len()].clone()).await.expect("a result"));
            }
        });
        println!("{}", processor_nanoseconds() - began);
        io::stdout().flush().expect("standard output");
    }
}
