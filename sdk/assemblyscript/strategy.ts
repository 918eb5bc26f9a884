// Guest SDK for AssemblyScript: a strategy of plugin contract version 1 (sdk/abi/README.md). This file is
// the entry of the compilation; the plugin is plugin.ts beside it, which exports
//
//   export function decide(input: Input): Answer | null
//
// It is told a decision that arbitration has ranked and answers which candidates to go on with; null leaves
// everything as arbitration ranked it and marks the decision as degraded.
//
// The module has one caller at a time. A global variable would survive from one customer to the next: do
// not use any that can change. What a call allocates is collected at its end.
import { decide } from "../plugin";
import { decimal, quote, Reader } from "./json";
import { Answer, Candidate, Context, Input, Placement } from "./types";

const MAX_BUFFER: u32 = 256 << 10;

let input: usize = 0;
let output: usize = 0;

/** The marker of contract version 1. It is looked for and never called. */
export function arbiter_abi_v1(): void {}

/** Where the host writes an input of so many bytes and reads an answer of so many. */
export function arbiter_buffers(inputBytes: u32, outputBytes: u32): i64 {
  if (inputBytes > MAX_BUFFER || outputBytes > MAX_BUFFER) return -1;
  if (input != 0) {
    heap.free(input);
    heap.free(output);
  }
  input = heap.alloc(inputBytes + 16);
  output = heap.alloc(outputBytes + 16);
  return ((<i64>((input + 15) & ~15)) << 32) | <i64>((output + 15) & ~15);
}

/** Decides; the bytes written, or less than 0. */
export function arbiter_decide(at: usize, length: u32, out: usize, capacity: u32): i64 {
  const written = answer(at, length, out, capacity);
  __collect();
  return written;
}

function answer(at: usize, length: u32, out: usize, capacity: u32): i64 {
  const reader = new Reader(at, at + length);
  const told = readInput(reader);
  if (!reader.finish()) return -2;
  const wanted = decide(told);
  if (wanted === null) return -1;
  const text = write(wanted);
  const bytes = <u32>String.UTF8.byteLength(text);
  if (bytes > capacity) return -(<i64>bytes);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, out);
  return bytes;
}

function readInput(r: Reader): Input {
  const told = new Input();
  for (r.enter(0x7b); r.next(0x7d);) {
    r.member();
    if (r.is("nowMs")) told.nowMs = <i64>r.number();
    else if (r.is("channel")) told.channel = r.text();
    else if (r.is("direction")) told.direction = r.text();
    else if (r.is("subject")) told.subject = r.fields();
    else if (r.is("features")) told.features = r.fields();
    else if (r.is("contexts")) {
      for (r.enter(0x5b); r.next(0x5d);) told.contexts.push(readContext(r));
    } else if (r.is("placements")) {
      for (r.enter(0x5b); r.next(0x5d);) told.placements.push(readPlacement(r));
    } else if (r.is("candidates")) {
      for (r.enter(0x5b); r.next(0x5d);) told.candidates.push(readCandidate(r));
    } else r.skip();
  }
  return told;
}

function readContext(r: Reader): Context {
  const c = new Context();
  for (r.enter(0x7b); r.next(0x7d);) {
    r.member();
    if (r.is("type")) c.type = r.text();
    else if (r.is("key")) c.key = r.text();
    else if (r.is("value")) c.value = r.text();
    else r.skip();
  }
  return c;
}

function readPlacement(r: Reader): Placement {
  const p = new Placement();
  for (r.enter(0x7b); r.next(0x7d);) {
    r.member();
    if (r.is("name")) p.name = r.text();
    else if (r.is("limit")) p.limit = <i32>r.number();
    else r.skip();
  }
  return p;
}

function readCandidate(r: Reader): Candidate {
  const c = new Candidate();
  for (r.enter(0x7b); r.next(0x7d);) {
    r.member();
    if (r.is("action")) c.action = r.text();
    else if (r.is("issue")) c.issue = r.text();
    else if (r.is("group")) c.group = r.text();
    else if (r.is("model")) c.model = r.text();
    else if (r.is("propensity")) c.propensity = r.number();
    else if (r.is("contextWeight")) c.contextWeight = r.number();
    else if (r.is("value")) c.value = r.number();
    else if (r.is("lever")) c.lever = r.number();
    else if (r.is("priority")) c.priority = r.number();
    else if (r.is("properties")) c.properties = r.fields();
    else if (r.is("treatments")) {
      for (r.enter(0x5b); r.next(0x5d);) {
        const names: string[] = [];
        for (r.enter(0x5b); r.next(0x5d);) names.push(r.text());
        c.treatments.push(names);
      }
    } else r.skip();
  }
  return c;
}

function write(a: Answer): string {
  const parts: string[] = ['{"picks":['];
  for (let i = 0; i < a.picks.length; i++) {
    const p = a.picks[i];
    parts.push((i > 0 ? ',{"candidate":' : '{"candidate":') + p.candidate.toString());
    if (p.weight != 0) parts.push(',"weight":' + decimal(p.weight));
    if (p.treatment.length > 0) parts.push(',"treatment":' + quote(p.treatment));
    for (let n = 0; n < p.names.length; n++) {
      parts.push((n > 0 ? "," : ',"content":{') + quote(p.names[n]) + ":" + quote(p.texts[n]));
    }
    parts.push(p.names.length > 0 ? "}}" : "}");
  }
  parts.push('],"byPriority":' + (a.byPriority ? "true" : "false") + "}");
  return parts.join("");
}
