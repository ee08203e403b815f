"""The English words that checks of behaviour know; a recipe for another language gives its own."""

# Common first names that are no other words; a name is replaced by another of its group, so that 'she' stays right.
WOMEN = (
    "Alice", "Anna", "Barbara", "Catherine", "Deborah", "Elizabeth", "Emily", "Emma", "Hannah", "Helen", "Jane",
    "Jennifer", "Jessica", "Julia", "Karen", "Kate", "Laura", "Linda", "Lisa", "Maria", "Martha", "Mary", "Michelle",
    "Nancy", "Nicole", "Olivia", "Patricia", "Rachel", "Rebecca", "Ruth", "Sandra", "Sarah", "Sophie", "Susan",
)  # fmt: skip
MEN = (
    "Adam", "Alan", "Andrew", "Anthony", "Ben", "Brian", "Charles", "Christopher", "Daniel", "David", "Edward", "Eric",
    "George", "Harry", "Henry", "James", "Jason", "John", "Joseph", "Kevin", "Martin", "Matthew", "Michael", "Oliver",
    "Patrick", "Paul", "Peter", "Richard", "Robert", "Ryan", "Simon", "Stephen", "Steven", "Thomas", "William",
)  # fmt: skip

NEUTRAL = (
    "I am writing this on a Tuesday.",
    "This was written in the evening.",
    "It is about ten o'clock now.",
    "I wrote this down at my desk.",
)

NEGATIONS = {
    "is": "is not", "are": "are not", "was": "was not", "were": "were not", "it's": "it's not", "will": "will not",
    "can": "cannot", "could": "could not", "would": "would not", "should": "should not",
}  # fmt: skip
NEGATED = (
    "'t", "\u2019t", "n't", "not", "never", "no", "nothing", "nobody", "none", "neither", "hardly", "barely",
)  # fmt: skip
"""Words after one of NEGATIONS that say so already."""

STRONGER = (
    "awful", "bad", "beautiful", "boring", "charming", "clever", "clumsy", "disappointing", "dull", "entertaining",
    "enjoyable", "friendly", "funny", "good", "happy", "helpful", "impressive", "interesting", "moving", "nice",
    "pleasant", "poor", "reliable", "rude", "sad", "satisfying", "silly", "slow", "smart", "stupid", "touching",
    "ugly", "useful", "weak", "witty",
)  # fmt: skip
INTENSIFIERS = {word: f"very {word}" for word in STRONGER}
WEIGHED = (
    "as", "even", "extremely", "hardly", "how", "least", "less", "more", "most", "n't", "never", "not", "pretty",
    "quite", "rather", "really", "so", "too", "very",
)  # fmt: skip
"""Words before one of INTENSIFIERS that tell its strength already, or turn it round."""
