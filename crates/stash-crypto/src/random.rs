//! Secret bytes out of a generator that the caller brings.

use rand::CryptoRng;
use zeroize::Zeroizing;

pub(crate) fn random<const N: usize>(rng: &mut (impl CryptoRng + ?Sized)) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    rng.fill_bytes(&mut *bytes);
    bytes
}
