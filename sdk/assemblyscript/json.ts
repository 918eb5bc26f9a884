// A small reader and writer of JSON (RFC 8259) over bytes. After the first mistake every method of the
// reader gives nothing.
import { Fields, Value } from "./types";

// The powers of ten that a 64-bit float holds exactly.
const POWERS: StaticArray<f64> = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

export class Reader {
  wrong: bool = false;
  private first: bool = false;
  private nameAt: usize = 0;
  private nameLength: i32 = 0;
  private whole: u64 = 0;
  private digits: i32 = 0;
  private depth: i32 = 0;

  constructor(private at: usize, private end: usize) {}

  /** The next byte that is no space; 0 at the end. */
  peek(): u8 {
    while (this.at < this.end) {
      const c = load<u8>(this.at);
      if (c != 0x20 && c != 0x09 && c != 0x0a && c != 0x0d) return c;
      this.at++;
    }
    return 0;
  }

  private fail(): void {
    this.wrong = true;
    this.at = this.end;
  }

  private take(c: u8): void {
    if (this.peek() == c) this.at++;
    else this.fail();
  }

  /** Begins an object or a list; next tells whether another member follows. */
  enter(open: u8): void {
    this.take(open);
    if (++this.depth > 64) this.fail();
    this.first = true;
  }

  next(end: u8): bool {
    if (this.wrong) return false;
    if (this.peek() == end) {
      this.at++;
      this.depth--;
      this.first = false;
      return false;
    }
    if (!this.first) this.take(0x2c);
    this.first = false;
    return !this.wrong;
  }

  /** Reads the name of the next member of an object; is compares it. */
  member(): void {
    this.take(0x22);
    this.nameAt = this.at;
    while (this.at < this.end && load<u8>(this.at) != 0x22) this.at += load<u8>(this.at) == 0x5c ? 2 : 1;
    this.nameLength = <i32>(this.at - this.nameAt);
    this.take(0x22);
    this.take(0x3a);
  }

  /** Tells whether the member that was read last has this name, which is of ASCII. */
  is(name: string): bool {
    if (name.length != this.nameLength) return false;
    for (let i = 0; i < name.length; i++) {
      if (load<u8>(this.nameAt + i) != name.charCodeAt(i)) return false;
    }
    return true;
  }

  /** The name of the next member of an object. */
  key(): string {
    const name = this.text();
    this.take(0x3a);
    return name;
  }

  /**
   * Up to 15 digits are read with one multiplication or division, which is exact; what the host writes has
   * no more.
   */
  number(): f64 {
    this.peek();
    const begin = this.at;
    const negative = this.at < this.end && load<u8>(this.at) == 0x2d;
    if (negative) this.at++;
    this.whole = 0;
    this.digits = 0;
    this.readDigits();
    let scale = 0;
    if (this.at < this.end && load<u8>(this.at) == 0x2e) {
      this.at++;
      const point = this.at;
      this.readDigits();
      scale = <i32>(point - this.at);
    }
    const digits = this.digits;
    const whole = this.whole;
    if (this.at < this.end && (load<u8>(this.at) | 0x20) == 0x65) {
      this.at++;
      const minus = this.at < this.end && load<u8>(this.at) == 0x2d;
      if (minus || (this.at < this.end && load<u8>(this.at) == 0x2b)) this.at++;
      this.whole = 0;
      this.digits = 0;
      this.readDigits();
      const exponent = this.digits > 4 ? 9999 : <i32>this.whole;
      scale += minus ? -exponent : exponent;
    }
    if (this.at == begin || digits > 15 || scale < -22 || scale > 22) {
      const slow = parseFloat(String.UTF8.decodeUnsafe(begin, this.at - begin));
      if (isNaN(slow)) this.fail();
      return slow;
    }
    let n = <f64>whole;
    if (scale < 0) n /= POWERS[-scale];
    else n *= POWERS[scale];
    return negative ? -n : n;
  }

  private readDigits(): void {
    while (this.at < this.end) {
      const digit = load<u8>(this.at) - 0x30;
      if (digit > 9) return;
      this.whole = this.whole * 10 + digit;
      if (this.whole != 0) this.digits++;
      this.at++;
    }
  }

  bool(): bool {
    if (this.peek() == 0x74) {
      this.word("true");
      return !this.wrong;
    }
    this.word("false");
    return false;
  }

  private word(word: string): void {
    for (let i = 0; i < word.length; i++) {
      if (this.at >= this.end || load<u8>(this.at) != word.charCodeAt(i)) {
        this.fail();
        return;
      }
      this.at++;
    }
  }

  text(): string {
    this.take(0x22);
    let begin = this.at;
    let out = "";
    let at = begin;
    const end = this.end;
    while (at < end) { // most texts end here
      const c = load<u8>(at);
      if (c == 0x22 || c == 0x5c || c < 0x20) break;
      at++;
    }
    this.at = at;
    while (this.at < this.end) {
      const c = load<u8>(this.at);
      if (c == 0x22) {
        const rest = String.UTF8.decodeUnsafe(begin, this.at - begin);
        this.at++;
        return out.length == 0 ? rest : out + rest;
      }
      if (c < 0x20) break;
      if (c == 0x5c) {
        out += String.UTF8.decodeUnsafe(begin, this.at - begin);
        out += this.escape();
        begin = this.at;
        continue;
      }
      this.at++;
    }
    this.fail();
    return "";
  }

  private escape(): string {
    this.at++;
    const c = this.at < this.end ? load<u8>(this.at) : 0;
    this.at++;
    switch (c) {
      case 0x22: case 0x5c: case 0x2f: return String.fromCharCode(c);
      case 0x62: return "\b";
      case 0x66: return "\f";
      case 0x6e: return "\n";
      case 0x72: return "\r";
      case 0x74: return "\t";
      case 0x75: return this.unit();
    }
    this.fail();
    return "";
  }

  // unit is one \u escape with the second half of its pair; half a pair becomes the replacement character.
  private unit(): string {
    const high = this.hex();
    if (high >= 0xd800 && high < 0xdc00 && this.at + 6 <= this.end && load<u8>(this.at) == 0x5c && load<u8>(this.at + 1) == 0x75) {
      const before = this.at;
      this.at += 2;
      const low = this.hex();
      if (low >= 0xdc00 && low < 0xe000) return String.fromCharCode(high, low);
      if (!this.wrong) this.at = before;
    }
    return String.fromCharCode(high >= 0xd800 && high < 0xe000 ? 0xfffd : high);
  }

  private hex(): i32 {
    if (this.at + 4 > this.end) {
      this.fail();
      return 0;
    }
    let n = 0;
    for (let i = 0; i < 4; i++) {
      const c = <i32>load<u8>(this.at++);
      const digit = c >= 0x30 && c <= 0x39 ? c - 0x30 : c >= 0x61 && c <= 0x66 ? c - 0x57 : c >= 0x41 && c <= 0x46 ? c - 0x37 : -1;
      if (digit < 0) {
        this.fail();
        return 0;
      }
      n = (n << 4) | digit;
    }
    return n;
  }

  fields(): Fields {
    const list = new Fields();
    for (this.enter(0x7b); this.next(0x7d);) {
      const name = this.key();
      switch (this.peek()) {
        case 0x22: list.set(name, new Value(false, 0, true, this.text(), false, false)); break;
        case 0x74: case 0x66: list.set(name, new Value(false, 0, false, "", true, this.bool())); break;
        default: list.set(name, new Value(true, this.number(), false, "", false, false));
      }
    }
    return list;
  }

  /** Reads a value of any kind. */
  skip(): void {
    switch (this.peek()) {
      case 0x7b:
        for (this.enter(0x7b); this.next(0x7d);) {
          this.key();
          this.skip();
        }
        break;
      case 0x5b:
        for (this.enter(0x5b); this.next(0x5d);) this.skip();
        break;
      case 0x22: this.text(); break;
      case 0x74: case 0x66: this.bool(); break;
      case 0x6e: this.word("null"); break;
      default: this.number();
    }
  }

  /** Tells whether everything was read and nothing was wrong. */
  finish(): bool { return this.peek() == 0 && !this.wrong; }
}

/** A JSON string. */
export function quote(text: string): string {
  let out = '"';
  let begin = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0x20 && c != 0x22 && c != 0x5c) continue;
    out += text.substring(begin, i);
    begin = i + 1;
    if (c >= 0x20) {
      out += "\\" + String.fromCharCode(c);
    } else {
      const hex = c.toString(16);
      out += "\\u00" + (hex.length < 2 ? "0" : "") + hex;
    }
  }
  return out + text.substring(begin) + '"';
}

/** A number as JSON has it. */
export function decimal(n: f64): string {
  return n == Math.floor(n) && Math.abs(n) < 9007199254740992 ? (<i64>n).toString() : n.toString();
}
