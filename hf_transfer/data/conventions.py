"""Names that people give to columns, and the suffixes of image files."""

from __future__ import annotations

# Names people give, in groups: the first group that holds exactly one column wins, several in one are ambiguous.
CONVENTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (
        ("text", "texts"),
        (
            "sentence",
            "content",
            "review",
            "tweet",
            "body",
            "review_text",
            "review_body",
            "comment_text",
            "string",
        ),
        ("comment", "message", "document", "question", "query", "utterance", "headline", "post", "abstract"),
    ),
    "image": (
        ("image", "images"),
        ("img", "picture", "photo", "pixel_values", "file_name", "image_path", "path"),
    ),
    "label": (
        ("label", "labels"),
        ("class", "target", "category", "sentiment", "emotion", "intent", "topic"),
        ("score", "rating", "stars", "similarity", "similarity_score", "relatedness_score", "polarity", "y"),
    ),
}


PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("claim", "evidence"),
)


IDS = ("id", "ids", "idx", "index", "guid", "uuid", "row", "rowid", "row_id", "unnamed: 0", "column_0")


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
