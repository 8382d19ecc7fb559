"""Cards as targets: built once, and asked for again only when something in them would change."""

from trials.worlds import World

CARD = "results/cards/tiny-base.md"


def test_a_card_is_built_once_and_needs_nothing_of_what_it_read(miniature: World):
    assert miniature.build(CARD) == {"card-tiny-base": "executed"}
    text = (miniature.folder / CARD).read_text(encoding="utf-8")
    for words in ("Hardware: the CPU", "data/corpus/tiny.txt", "SHA-256", "(../../results/tables/tiny.md)", "licence"):
        assert words in text, words
    assert "Nothing to be done" in miniature.run("snakemake", "-n", CARD).stdout
    for path in ("data/corpus/tiny.txt", "results/scores/tiny/tiny-base.json", "results/answers/tiny/tiny-base.jsonl"):
        (miniature.folder / path).unlink()
    assert "Nothing to be done" in miniature.run("snakemake", "-n", CARD).stdout
    miniature.set("tables.tiny.title", "Another title")
    assert miniature.planned(CARD) == {}
    miniature.set("base.tiny.learning_rate", 0.001)
    assert {"base-tiny-base", "card-tiny-base"} <= set(miniature.planned(CARD))
