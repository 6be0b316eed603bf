"use strict";
// SHA-256 by parts, and Ed25519 (RFC 8032): the browser's own where it has it, else in BigInt.  Nothing here is secret.
window.dfdCrypto = (() => {
  const K256 = [], K512 = [], IV256 = [], IV512 = [];
  const MASK = (1n << 64n) - 1n;

  // The constants of SHA-2: fractional parts of the roots of the first primes.
  const root = (value, degree, bits) => {
    // The integer part of value^(1/degree) * 2^bits, by bisection.
    let low = 0n, high = 1n << BigInt(bits + 10);
    const target = BigInt(value) << BigInt(bits * degree);
    while (high - low > 1n) {
      const middle = (low + high) >> 1n;
      if (middle ** BigInt(degree) <= target) low = middle;
      else high = middle;
    }
    return low;
  };
  for (let prime = 2, count = 0; count < 80; prime += 1) {
    let isPrime = true;
    for (let d = 2; d * d <= prime; d += 1) if (prime % d === 0) isPrime = false;
    if (!isPrime) continue;
    const cube = root(prime, 3, 64) & MASK;
    K512.push(cube);
    if (count < 64) K256.push(Number(cube >> 32n) | 0);
    if (count < 8) {
      const square = root(prime, 2, 64) & MASK;
      IV512.push(square);
      IV256.push(Number(square >> 32n) | 0);
    }
    count += 1;
  }

  const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  class Sha256 {
    constructor() {
      this.state = Int32Array.from(IV256);
      this.rest = new Uint8Array(64);
      this.held = 0;
      this.length = 0;
      this.words = new Int32Array(64);
    }

    update(bytes) {
      this.length += bytes.length;
      let at = 0;
      if (this.held) {
        at = Math.min(64 - this.held, bytes.length);
        this.rest.set(bytes.subarray(0, at), this.held);
        this.held += at;
        if (this.held < 64) return this;
        this.block(this.rest, 0);
        this.held = 0;
      }
      for (; at + 64 <= bytes.length; at += 64) this.block(bytes, at);
      this.rest.set(bytes.subarray(at));
      this.held = bytes.length - at;
      return this;
    }

    digest() {
      const bits = this.length * 8;
      const tail = new Uint8Array(this.held < 56 ? 64 - this.held : 128 - this.held);
      tail[0] = 0x80;
      const view = new DataView(tail.buffer);
      view.setUint32(tail.length - 8, Math.floor(bits / 2 ** 32));
      view.setUint32(tail.length - 4, bits >>> 0);
      this.update(tail);
      const out = new DataView(new ArrayBuffer(32));
      this.state.forEach((word, index) => out.setInt32(4 * index, word));
      return hex(new Uint8Array(out.buffer));
    }

    block(bytes, at) {
      const w = this.words;
      for (let i = 0; i < 16; i += 1) {
        const j = at + 4 * i;
        w[i] = (bytes[j] << 24) | (bytes[j + 1] << 16) | (bytes[j + 2] << 8) | bytes[j + 3];
      }
      const turn = (x, n) => (x >>> n) | (x << (32 - n));
      for (let i = 16; i < 64; i += 1) {
        const a = w[i - 15], b = w[i - 2];
        w[i] = (w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10))) | 0;
      }
      let [a, b, c, d, e, f, g, h] = this.state;
      for (let i = 0; i < 64; i += 1) {
        const first = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K256[i] + w[i]) | 0;
        const second = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        h = g;
        g = f;
        f = e;
        e = (d + first) | 0;
        d = c;
        c = b;
        b = a;
        a = (first + second) | 0;
      }
      [a, b, c, d, e, f, g, h].forEach((word, index) => {
        this.state[index] = (this.state[index] + word) | 0;
      });
    }
  }

  const sha256 = (bytes) => new Sha256().update(bytes).digest();

  const sha512 = (bytes) => {
    const size = Math.ceil((bytes.length + 17) / 128) * 128;
    const padded = new Uint8Array(size);
    padded.set(bytes);
    padded[bytes.length] = 0x80;
    const view = new DataView(padded.buffer);
    view.setBigUint64(size - 8, BigInt(bytes.length) * 8n);
    const state = [...IV512], w = [];
    const turn = (x, n) => ((x >> n) | (x << (64n - n))) & MASK;
    for (let at = 0; at < size; at += 128) {
      for (let i = 0; i < 80; i += 1) {
        if (i < 16) w[i] = view.getBigUint64(at + 8 * i);
        else {
          const a = w[i - 15], b = w[i - 2];
          w[i] = (w[i - 16] + (turn(a, 1n) ^ turn(a, 8n) ^ (a >> 7n)) + w[i - 7] + (turn(b, 19n) ^ turn(b, 61n) ^ (b >> 6n))) & MASK;
        }
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 80; i += 1) {
        const first = (h + (turn(e, 14n) ^ turn(e, 18n) ^ turn(e, 41n)) + ((e & f) ^ (~e & MASK & g)) + K512[i] + w[i]) & MASK;
        const second = ((turn(a, 28n) ^ turn(a, 34n) ^ turn(a, 39n)) + ((a & b) ^ (a & c) ^ (b & c))) & MASK;
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) & MASK, c, b, a, (first + second) & MASK];
      }
      [a, b, c, d, e, f, g, h].forEach((word, index) => {
        state[index] = (state[index] + word) & MASK;
      });
    }
    const out = new DataView(new ArrayBuffer(64));
    state.forEach((word, index) => out.setBigUint64(8 * index, word));
    return new Uint8Array(out.buffer);
  };

  // --- Ed25519: points as [X, Y, Z, T] ---
  const P = 2n ** 255n - 19n;
  const L = 2n ** 252n + 27742317777372353535851937790883648493n;
  const mod = (a, m = P) => ((a % m) + m) % m;
  const power = (base, exponent) => {
    let result = 1n;
    for (let b = mod(base), e = exponent; e > 0n; e >>= 1n, b = mod(b * b)) if (e & 1n) result = mod(result * b);
    return result;
  };
  const inverse = (a) => power(a, P - 2n);
  const D = mod(-121665n * inverse(121666n));
  const I = power(2n, (P - 1n) / 4n);
  const little = (bytes) => [...bytes].reverse().reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const add = ([x1, y1, z1, t1], [x2, y2, z2, t2]) => {
    const a = mod((y1 - x1) * (y2 - x2)), b = mod((y1 + x1) * (y2 + x2)), c = mod(2n * t1 * D * t2), d = mod(2n * z1 * z2);
    const e = b - a, f = d - c, g = d + c, h = b + a;
    return [mod(e * f), mod(g * h), mod(f * g), mod(e * h)];
  };
  const times = (point, scalar) => {
    let result = [0n, 1n, 1n, 0n];
    for (let p = point, s = scalar; s > 0n; s >>= 1n, p = add(p, p)) if (s & 1n) result = add(result, p);
    return result;
  };
  const decoded = (bytes) => {
    const number = little(bytes), sign = number >> 255n, y = number & (2n ** 255n - 1n);
    if (y >= P) return null;
    const u = mod(y * y - 1n), v = mod(D * y * y + 1n);
    let x = mod(u * v ** 3n) * power(u * v ** 7n, (P - 5n) / 8n);
    x = mod(x);
    if (mod(v * x * x) !== u) x = mod(x * I);
    if (mod(v * x * x) !== u || (x === 0n && sign)) return null;
    if ((x & 1n) !== sign) x = mod(-x);
    return [x, y, 1n, mod(x * y)];
  };
  const same = ([x1, y1, z1], [x2, y2, z2]) => mod(x1 * z2 - x2 * z1) === 0n && mod(y1 * z2 - y2 * z1) === 0n;
  const BASE = decoded(Uint8Array.from({ length: 32 }, (_, index) => (index ? 0x66 : 0x58)));

  const verifyHere = (key, signature, message) => {
    const a = decoded(key), r = decoded(signature.subarray(0, 32)), s = little(signature.subarray(32));
    if (!a || !r || s >= L) return false;
    const text = new Uint8Array(64 + message.length);
    text.set(signature.subarray(0, 32));
    text.set(key, 32);
    text.set(message, 64);
    return same(times(BASE, s), add(r, times(a, little(sha512(text)) % L)));
  };

  // Whether `key` (32 bytes) made the signature (64 bytes) of the message.
  const verify = async (key, signature, message) => {
    if (key.length !== 32 || signature.length !== 64) return false;
    if (window.crypto && window.crypto.subtle) {
      try {
        const known = await window.crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
        return await window.crypto.subtle.verify("Ed25519", known, signature, message);
      } catch {
        // This browser does not know it yet.
      }
    }
    return verifyHere(key, signature, message);
  };

  return { Sha256, sha256, sha512, verify, verifyHere };
})();
