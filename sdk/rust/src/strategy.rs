//! Strategies: what they are told of a decision and what they answer. `sdk/abi/README.md` describes every
//! member.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use serde_json::Value;

/// What a strategy is told of a decision.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    #[serde(default)]
    pub now_ms: i64,
    #[serde(default)]
    pub channel: String,
    #[serde(default)]
    pub direction: String,
    #[serde(default)]
    pub contexts: Vec<Context>,
    /// The attributes that the manifest lists, as far as the customer consented and has them.
    #[serde(default)]
    pub subject: BTreeMap<String, Value>,
    /// The features that the manifest lists, without the missing ones.
    #[serde(default)]
    pub features: BTreeMap<String, f64>,
    #[serde(default)]
    pub placements: Vec<Placement>,
    /// In the order of arbitration, best first.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
}

impl Input {
    /// The first context value of that key.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.contexts.iter().find(|c| c.key == key).map(|c| c.value.as_str())
    }

    /// An attribute of the subject that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.subject.get(name).and_then(Value::as_f64)
    }

    /// An attribute of the subject that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.subject.get(name).and_then(Value::as_str)
    }

    /// An attribute of the subject that is true or false.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.subject.get(name).and_then(Value::as_bool)
    }
}

/// One situational value of the request.
#[derive(Debug, Deserialize)]
pub struct Context {
    #[serde(default, rename = "type")]
    pub kind: String,
    pub key: String,
    #[serde(default)]
    pub value: String,
}

/// A slot to be filled with up to `limit` propositions.
#[derive(Debug, Deserialize)]
pub struct Placement {
    pub name: String,
    pub limit: u32,
}

/// An action that passed every policy, with its factors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    pub action: String,
    pub issue: String,
    pub group: String,
    pub propensity: f64,
    pub context_weight: f64,
    pub value: f64,
    pub lever: f64,
    pub priority: f64,
    /// The plugin that scored it; none for a fixed or a starting propensity.
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub properties: BTreeMap<String, f64>,
    /// For each placement the names of the treatments there are; the first is used unless a pick names
    /// another.
    #[serde(default)]
    pub treatments: Vec<Vec<String>>,
}

/// What a strategy wants.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The candidates to go on with, best first. The others are not proposed.
    pub picks: Vec<Pick>,
    /// Asks the host to rank the picks by priority times weight instead.
    pub by_priority: bool,
}

/// One candidate of an answer.
#[derive(Debug, Default, Serialize)]
pub struct Pick {
    /// Its position in the candidates of the input.
    pub candidate: usize,
    /// Multiplies its priority: above 0 and at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Names one of its treatments to use instead of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub treatment: Option<String>,
    /// Adds fields to what the channel shows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub content: BTreeMap<String, String>,
}

impl Pick {
    /// Picks a candidate as it is.
    pub fn of(candidate: usize) -> Pick {
        Pick { candidate, ..Pick::default() }
    }
}

/// The memory of the calls: eight-byte words, so that it is aligned.
#[doc(hidden)]
pub struct Buffers {
    pub input: Vec<u64>,
    pub output: Vec<u64>,
}

/// The most bytes of an input and of an answer.
#[doc(hidden)]
pub const MAX_BUFFER: usize = 256 << 10;

#[doc(hidden)]
pub fn buffers(buffers: &mut Buffers, input: usize, output: usize) -> i64 {
    if input > MAX_BUFFER || output > MAX_BUFFER {
        return crate::REFUSED;
    }
    buffers.input = vec![0; input / 8 + 1];
    buffers.output = vec![0; output / 8 + 1];
    (buffers.input.as_ptr() as usize as i64) << 32 | buffers.output.as_ptr() as usize as i64
}

#[doc(hidden)]
pub fn answer<E>(input: &[u8], output: &mut [u8], decide: impl Fn(&Input) -> Result<Answer, E>) -> i64 {
    let input: Input = match serde_json::from_slice(input) {
        Ok(input) => input,
        Err(_) => return -2,
    };
    let answer = match decide(&input) {
        Ok(answer) => answer,
        Err(_) => return -1,
    };
    let text = match serde_json::to_vec(&answer) {
        Ok(text) => text,
        Err(_) => return -3,
    };
    if text.len() > output.len() {
        return -(text.len() as i64);
    }
    output[..text.len()].copy_from_slice(&text);
    text.len() as i64
}

/// Exports a strategy: `strategy!(function)`.
///
/// The function is `fn(&Input) -> Result<Answer, E>`: it is told a decision and answers which candidates
/// to go on with. An error leaves everything as arbitration ranked it and marks the decision as degraded.
/// The same input must give the same answer.
#[macro_export]
macro_rules! strategy {
    ($decide:path) => {
        static mut ARBITER_BUFFERS: $crate::strategy::Buffers =
            $crate::strategy::Buffers { input: Vec::new(), output: Vec::new() };

        /// The marker of contract version 1. It is looked for and never called.
        #[no_mangle]
        pub extern "C" fn arbiter_abi_v1() {}

        /// Where the host writes an input of so many bytes and reads an answer of so many.
        #[no_mangle]
        pub extern "C" fn arbiter_buffers(input: usize, output: usize) -> i64 {
            $crate::strategy::buffers(unsafe { &mut *core::ptr::addr_of_mut!(ARBITER_BUFFERS) }, input, output)
        }

        /// Decides; the bytes written, or less than 0.
        ///
        /// # Safety
        /// The areas are those of the last arbiter_buffers.
        #[no_mangle]
        pub unsafe extern "C" fn arbiter_decide(input: *const u8, length: usize, output: *mut u8, capacity: usize) -> i64 {
            $crate::strategy::answer(
                core::slice::from_raw_parts(input, length),
                core::slice::from_raw_parts_mut(output, capacity),
                $decide,
            )
        }
    };
}
