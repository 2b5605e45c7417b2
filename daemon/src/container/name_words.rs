//! Names for containers that were given none: an adjective, an underscore, and the surname of somebody who found
//! something out.

/// Friendly ones only: the name is shown to people.
#[rustfmt::skip]
const ADJECTIVES: [&str; 143] = [
    "able", "agile", "airy", "alert", "ample", "apt", "astute", "aware", "balanced", "bold", "brave", "bright",
    "brisk", "calm", "candid", "careful", "cheerful", "chipper", "civil", "clear", "clever", "cordial",
    "cosmic", "courteous", "cozy", "crisp", "curious", "dapper", "daring", "deft", "diligent", "direct",
    "eager", "earnest", "easygoing", "elegant", "epic", "exact", "fair", "faithful", "fearless", "festive",
    "fine", "firm", "fluent", "fond", "frank", "fresh", "friendly", "gallant", "generous", "gentle", "genuine",
    "gifted", "glad", "graceful", "grand", "happy", "hardy", "hearty", "helpful", "honest", "hopeful", "humble",
    "ideal", "inspired", "jolly", "jovial", "joyful", "keen", "kind", "lively", "loyal", "lucid", "lucky",
    "luminous", "mellow", "merry", "mindful", "modest", "musing", "neat", "nimble", "noble", "novel", "open",
    "optimistic", "patient", "peaceful", "placid", "playful", "pleasant", "plucky", "poised", "polite",
    "practical", "precise", "prompt", "proud", "prudent", "quick", "quiet", "radiant", "rapid", "ready",
    "robust", "rustic", "sage", "serene", "sharp", "sincere", "skilled", "smart", "smooth", "snug", "solar",
    "sparkling", "spirited", "stable", "steady", "stellar", "stoic", "sturdy", "subtle", "sunny", "swift",
    "tactful", "tender", "thorough", "thoughtful", "tidy", "tranquil", "trusty", "upbeat", "valiant", "vibrant",
    "vigilant", "vivid", "warm", "wise", "witty", "zealous", "zesty",
];

/// Scientists, mathematicians and engineers; ASCII and lower case, as the names of containers allow.
#[rustfmt::skip]
const SURNAMES: [&str; 254] = [
    "abel", "agnesi", "alembert", "alkhwarizmi", "ampere", "anning", "apollonius", "archimedes", "aristarchus",
    "aryabhata", "ashby", "avogadro", "babbage", "bache", "banach", "banneker", "bardeen", "barton", "bassi",
    "becquerel", "bell", "berners", "bernoulli", "berzelius", "bessel", "bhabha", "bhaskara", "bohr",
    "boltzmann", "bolyai", "bolzano", "boole", "born", "bose", "boyle", "bragg", "brahe", "brahmagupta",
    "brattain", "burnell", "cannon", "cantor", "carnot", "carson", "carver", "cauchy", "cavendish", "celsius",
    "chandra", "chatelet", "chebyshev", "chladni", "church", "clausius", "cori", "coriolis", "coulomb", "crick",
    "curie", "dalton", "daubechies", "davy", "dedekind", "descartes", "dijkstra", "diophantus", "dirac",
    "dirichlet", "doppler", "drebbel", "easley", "eddington", "edison", "einstein", "elion", "engelbart",
    "eratosthenes", "erdos", "euclid", "euler", "fahrenheit", "faraday", "fermat", "fermi", "feynman",
    "fibonacci", "fizeau", "fleming", "foucault", "fourier", "franklin", "fresnel", "galileo",
    "galois", "galvani", "gauss", "germain", "gibbs", "godel", "goeppert", "goodall", "gutenberg", 
    "hadamard", "halley", "hamilton", "hamming", "harrison", "harvey", "heaviside", "helmholtz", "henry",
    "hermite", "herschel", "hertz", "hilbert", "hipparchus", "hodgkin", "hooke", "hopper", "hubble", "huygens",
    "hypatia", "ibnsina", "jacobi", "jansky", "jemison", "jenner", "johnson", "joliot", "joule", "kalman",
    "kelvin", "kepler", "khayyam", "kilby", "kirch", "kirchhoff", "klein", "knuth", "kolmogorov",
    "kovalevskaya", "lagrange", "lamarr", "lamport", "landau", "laplace", "lavoisier", "leavitt", "legendre",
    "leibniz", "levi", "lindelof", "linnaeus", "liskov", "lister", "lobachevsky", "lorentz", "lovelace",
    "lyapunov", "maathai", "mach", "malpighi", "marconi", "markov", "maxwell", "mayer", "mcclintock", "meitner",
    "mendel", "mendeleev", "mersenne", "michelson", "minkowski", "mirzakhani", "moore", "morse", "napier",
    "nash", "neumann", "newcomen", "newton", "nightingale", "noether", "oersted", "ohm", "oort", "ostrom",
    "pappus", "pascal", "pasteur", "pauli", "pauling", "payne", "perlman", "planck", "poincare", "poisson",
    "priestley", "ptolemy", "pythagoras", "quetelet", "raman", "ramanujan", "rayleigh", "ritchie", "robinson",
    "roemer", "rubin", "russell", "rutherford", "sagan", "sanger", "schrodinger", "seaborg", "seki",
    "shannon", "sinoussi", "snell", "sommerville", "spence", "steinmetz", "stokes", "swan", "sylvester",
    "tarski", "tesla", "thales", "thompson", "torricelli", "tsu", "turing", "vallarta", "vaughan", "venn",
    "vieta", "villani", "volta", "wallis", "watt", "weber", "wegener", "weierstrass", "wheatstone", "wiener",
    "wilkes", "wing", "wozniak", "wright", "wu", "yalow", "young", "yukawa", "zeeman", "zuse",
];

/// Returns a name made from 64 random bits.
///
/// `attempt` counts from 0. After a collision the caller asks again with fresh bits and the next number, and gets a name
/// that ends in a digit as well, which makes ten times as many names.
pub fn generate(random: u64, attempt: u32) -> String {
    let (random, adjective) = pick(random, &ADJECTIVES);
    let (random, surname) = pick(random, &SURNAMES);
    if attempt == 0 { format!("{adjective}_{surname}") } else { format!("{adjective}_{surname}{}", random % 10) }
}

/// Takes one word and what is left of the randomness.
fn pick<'a>(random: u64, words: &[&'a str]) -> (u64, &'a str) {
    let count = words.len() as u64;
    (random / count, words[(random % count) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_lists_are_large_sorted_and_without_doubles() {
        const { assert!(ADJECTIVES.len() >= 100 && SURNAMES.len() >= 200) };
        assert!(ADJECTIVES.is_sorted_by(|a, b| a < b));
        assert!(SURNAMES.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn every_pair_of_words_can_come_out() {
        let pairs = (ADJECTIVES.len() * SURNAMES.len()) as u64;
        let names: HashSet<String> = (0..pairs).map(|random| generate(random, 0)).collect();
        assert_eq!(names.len() as u64, pairs);
    }

    #[test]
    fn a_second_attempt_ends_in_a_digit_that_depends_on_the_random_bits() {
        let pairs = (ADJECTIVES.len() * SURNAMES.len()) as u64;
        let names: HashSet<String> = (0..10).map(|digit| generate(digit * pairs, 1)).collect();
        assert_eq!(names.len(), 10);
        assert!(names.iter().all(|name| name.starts_with(&generate(0, 0))));
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_a_container_may_have(random: u64, attempt in 0_u32..20) {
            let name = generate(random, attempt);
            let (adjective, surname) = name.split_once('_').unwrap();
            prop_assert!(!adjective.is_empty() && adjective.bytes().all(|byte| byte.is_ascii_lowercase()));
            let bare = surname.trim_end_matches(|c: char| c.is_ascii_digit());
            prop_assert!(!bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_lowercase()));
            prop_assert_eq!(surname.len() - bare.len(), usize::from(attempt > 0));
        }
    }
}
