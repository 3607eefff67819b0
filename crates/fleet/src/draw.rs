//! Random numbers by counting, and the few functions of analysis that shapes need. Refuses to hold: a
//! generator with state (any number of any device's any day can be drawn alone, in any order) and the
//! platform's own `ln` and `exp`, whose last bits differ between machines; only operations that IEEE 754
//! rounds exactly are used.

/// The odd number nearest to 2^64 divided by the golden ratio: the step of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A node in the tree of random numbers: its bits, and a child for every number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The root of a seed's tree.
    pub(crate) const fn root(seed: u64) -> Draw {
        Draw(mix(seed ^ GOLDEN))
    }

    /// The child with a number.
    pub(crate) const fn of(self, number: u64) -> Draw {
        Draw(mix(self.0.wrapping_add(number.wrapping_add(1).wrapping_mul(GOLDEN))))
    }

    /// 64 uniform bits.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Uniform in `0.0 .. 1.0`.
    pub(crate) fn unit(self) -> f64 {
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0 .. bound`.
    pub(crate) const fn below(self, bound: u32) -> u32 {
        (((self.0 >> 32) * bound as u64) >> 32) as u32
    }

    /// True in one of so many thousand cases.
    pub(crate) const fn permille(self, share: u32) -> bool {
        self.below(1_000) < share
    }

    /// Standard normal, as the sum of twelve uniform numbers less six.
    pub(crate) fn normal(self) -> f64 {
        let sum: u64 = (0..3).map(|word| self.of(word).bits()).map(sum_of_quarters).sum();
        sum as f64 / 65_536.0 - 6.0 + 12.0 * 0.5 / 65_536.0
    }
}

fn sum_of_quarters(word: u64) -> u64 {
    (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48)
}

/// The finaliser of SplitMix64 (Stafford's variant 13): a bijection without visible structure.
pub(crate) const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// e^x for |x| up to some hundreds, to about 15 digits.
pub(crate) fn exp(x: f64) -> f64 {
    let halvings = (x / std::f64::consts::LN_2).clamp(-1_000.0, 1_000.0) as i32;
    let rest = x - f64::from(halvings) * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..20 {
        term = term * rest / f64::from(n);
        sum += term;
    }
    let scale = f64::from_bits(((1_023 + halvings) as u64) << 52);
    sum * scale
}

/// The natural logarithm of a normal positive number, to about 15 digits.
pub(crate) fn ln(x: f64) -> f64 {
    let exponent = (x.to_bits() >> 52) as i32 - 1_023;
    let mantissa = f64::from_bits(x.to_bits() & 0x000f_ffff_ffff_ffff | 1_023 << 52);
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum) = (ratio, 0.0);
    for n in 0..18 {
        sum += power / f64::from(2 * n + 1);
        power *= ratio * ratio;
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * sum
}

/// x^y for positive x.
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    exp(y * ln(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analysis_agrees_with_the_platform() {
        for x in [1e-9, 0.03, 0.5, 0.999, 1.0, 1.001, 2.0, 10.0, 123_456.789, 4e9] {
            assert!((ln(x) - x.ln()).abs() < 1e-13 * (1.0 + x.ln().abs()), "ln {x}");
        }
        for x in [-30.0, -1.0, -0.1, 0.0, 0.3, 0.69, 1.0, 20.0, 70.0] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "exp {x}");
        }
        assert!((pow(65_000.0, 0.7) / 65_000f64.powf(0.7) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn moments_of_the_normal() {
        let draws: Vec<f64> = (0..100_000).map(|n| Draw::root(7).of(n).normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
