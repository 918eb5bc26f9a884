//! The scorer of ../scorer/scorer.c as an Extism plugin: 64 numbers in, one number out, all as bytes. It is
//! spared the JSON that most such plugins read.
use extism_pdk::*;

const WEIGHTS: [f64; 64] = [
    -0.4140625, -0.125, 0.1640625, 0.453125, -0.2578125, 0.03125, 0.3203125, -0.390625,
    -0.1015625, 0.1875, 0.4765625, -0.234375, 0.0546875, 0.34375, -0.3671875, -0.078125,
    0.2109375, -0.5, -0.2109375, 0.078125, 0.3671875, -0.34375, -0.0546875, 0.234375,
    -0.4765625, -0.1875, 0.1015625, 0.390625, -0.3203125, -0.03125, 0.2578125, -0.453125,
    -0.1640625, 0.125, 0.4140625, -0.296875, -0.0078125, 0.28125, -0.4296875, -0.140625,
    0.1484375, 0.4375, -0.2734375, 0.015625, 0.3046875, -0.40625, -0.1171875, 0.171875,
    0.4609375, -0.25, 0.0390625, 0.328125, -0.3828125, -0.09375, 0.1953125, 0.484375,
    -0.2265625, 0.0625, 0.3515625, -0.359375, -0.0703125, 0.21875, -0.4921875, -0.203125,
];

#[plugin_fn]
pub fn score(input: Vec<u8>) -> FnResult<Vec<u8>> {
    let mut out = Vec::with_capacity(input.len() / 64);
    for row in input.chunks_exact(512) {
        let mut sum = 0.25;
        for (weight, value) in WEIGHTS.iter().zip(row.chunks_exact(8)) {
            sum += weight * f64::from_le_bytes(value.try_into().unwrap());
        }
        out.extend_from_slice(&(1.0 / (1.0 + (-sum).exp())).to_le_bytes());
    }
    Ok(out)
}
