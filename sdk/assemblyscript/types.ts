// What a strategy is told of a decision and what it answers; sdk/abi/README.md describes every member.

/** A number, a text or a truth value. */
export class Value {
  constructor(public isNumber: bool, public number: f64, public isText: bool, public text: string, public isBool: bool, public flag: bool) {}
}

/** Named values. */
export class Fields {
  private byName: Map<string, Value> = new Map();

  set(name: string, value: Value): void { this.byName.set(name, value); }

  /** The number of that name; NaN when there is none. */
  number(name: string): f64 {
    if (!this.byName.has(name)) return NaN;
    const value = this.byName.get(name);
    return value.isNumber ? value.number : NaN;
  }

  /** The text of that name; null when there is none. */
  text(name: string): string | null {
    if (!this.byName.has(name)) return null;
    const value = this.byName.get(name);
    return value.isText ? value.text : null;
  }

  /** Tells whether the truth value of that name is there and true. */
  flag(name: string): bool {
    if (!this.byName.has(name)) return false;
    return this.byName.get(name).flag;
  }
}

/** One situational value of the request. */
export class Context {
  type: string = "";
  key: string = "";
  value: string = "";
}

/** A slot to be filled with up to limit propositions. */
export class Placement {
  name: string = "";
  limit: i32 = 0;
}

/** An action that passed every policy, with its factors. */
export class Candidate {
  action: string = "";
  issue: string = "";
  group: string = "";
  /** The plugin that scored it; empty for a fixed or a starting propensity. */
  model: string = "";
  propensity: f64 = 0;
  contextWeight: f64 = 0;
  value: f64 = 0;
  lever: f64 = 0;
  priority: f64 = 0;
  properties: Fields = new Fields();
  /** For each placement the names of the treatments there are; the first is used unless a pick names another. */
  treatments: string[][] = [];
}

/** What a strategy is told of a decision. */
export class Input {
  nowMs: i64 = 0;
  channel: string = "";
  direction: string = "";
  contexts: Context[] = [];
  /** The attributes that the manifest lists, as far as the customer consented and has them. */
  subject: Fields = new Fields();
  /** The features that the manifest lists, without the missing ones. */
  features: Fields = new Fields();
  placements: Placement[] = [];
  /** In the order of arbitration, best first. */
  candidates: Candidate[] = [];

  /** The first context value of that key; null when there is none. */
  context(key: string): string | null {
    for (let i = 0; i < this.contexts.length; i++) {
      if (this.contexts[i].key == key) return this.contexts[i].value;
    }
    return null;
  }
}

/** One candidate of an answer. */
export class Pick {
  /** Multiplies its priority: above 0 and at most 100; 0 stands for 1. */
  weight: f64 = 0;
  /** Unless empty, names one of its treatments to use instead of the first. */
  treatment: string = "";
  names: string[] = [];
  texts: string[] = [];

  /** candidate is its position in the candidates of the input. */
  constructor(public candidate: i32) {}

  /** Adds a field to what the channel shows. */
  say(name: string, text: string): void {
    this.names.push(name);
    this.texts.push(text);
  }
}

/** What a strategy wants. */
export class Answer {
  /** The candidates to go on with, best first. The others are not proposed. */
  picks: Pick[] = [];
  /** Asks the host to rank the picks by priority times weight instead. */
  byPriority: bool = false;
}
