"""`ncf-pipeline mapping`: a file that nobody has described, made into a mapping at the prompt, and loaded by it."""

import gzip
import json
import os
import subprocess
import sys
import threading

import pandas as pd
import pytest
from openpyxl import Workbook
from terminal import Terminal
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError, NcfError
from ncf_pipeline.ingest.mappings import store
from ncf_pipeline.ingest.mappings.mapping import from_yaml
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.storage.database import transaction

NAMES = ["Bestellnummer", "Artikelnr.", "Bezeichnung", "Menge", "Bestelldatum", "Einzelpreis", "Kundennummer", "Land",
         "Status", "Farbe"]  # fmt: skip
ROWS = [
    ["B-1001", "M-1", "Tasse", "2", "05.01.2023 10:11", "10,00", "17850", "Deutschland", "bezahlt", "blau"],
    ["B-1001", "R-1", "Teppich", "1", "05.01.2023 10:11", "20,50", "17850", "Deutschland", "bezahlt", ""],
    ["B-1002", "R-1", "Teppich", "1", "06.01.2023 11:11", "20,50", "17851", "Österreich", "storniert", ""],
    ["B-1003", "R-1", "Teppich", "1", "07.01.2023 11:11", "20,50", "", "Österreich", "Lieferung unklar", ""],
]
SHOPIFY = """Name,Email,Financial Status,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Billing Country
#1001,a@example.com,paid,2023-01-05 10:11:12 -0500,2,Mug,10.00,MUG-1,US
#1001,,,2023-01-05 10:11:12 -0500,1,Rug,10.00,RUG-1,
"""  # noqa: E501 - a header


@pytest.fixture
def environment(settings):
    """Variables under which a command finds the shop."""
    return {
        "NCF_HOME": str(settings.home),
        "NCF_DATABASE_URL": settings.database(),
        "NCF_REDIS_URL": settings.list_store(),
        "NCF_ARTIFACTS_URL": settings.artifacts,
        "NCF_INBOX": str(settings.inbox_path),
        "NCF_KEY_PREFIX": settings.key_prefix,
        "NCF_SHOP_TIMEZONE": "Europe/London",
        "COLUMNS": "120",
    }


@pytest.fixture
def run(environment, monkeypatch, tmp_path):
    """Runs a command in this process, where it has no terminal, in an empty folder."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        return CliRunner().invoke(app, [str(each) for each in arguments])

    return command


@pytest.fixture
def orders(tmp_path):
    """A shop's own export: German, semicolons, Windows-1252."""
    path = tmp_path / "Bestellungen 2023.csv"
    path.write_text("\n".join(";".join(row) for row in [NAMES, *ROWS]) + "\n", encoding="cp1252")
    return path


def answers(terminal, *pairs):
    for question, answer in pairs:
        terminal.see(question)
        terminal.shown = terminal.shown.partition(question)[2]
        terminal.type(f"{answer}\n")


def lines(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select invoice_no, stock_code, quantity::float, invoice_date::text, unit_price::float, country "
            "from retail.invoice_line order by 1, 2"
        )
        return cursor.fetchall()


def test_at_a_terminal_it_asks_only_what_the_file_cannot_tell_and_stores_the_mapping(settings, environment, orders):
    terminal = Terminal(["mapping", "new", str(orders)], environment, folder=orders.parent)
    terminal.see("InvoiceNo    ← `Bestellnummer`  (B-1001, B-1002, B-1003)")
    terminal.see("Enter if this is right")
    assert "UnitPrice    ← `Einzelpreis`  (10,00, 20,50)" in terminal.shown
    assert "not read: Farbe" in terminal.shown
    answers(
        terminal,
        ("or a change such as quantity=Qty", "description=Farben"),
        ("The file has no column 'Farben'. It has Bestellnummer", "description = Farbe"),
        ("← `Farbe`  (blau)", "Description=Bezeichnung"),
        ("← `Bezeichnung`  (Tasse, Teppich)", ""),
        ("In which time zone are the times? The shop's is Europe/London", "Berlin"),
        ("'Berlin' is no time zone", "Europe/Berlin"),
        ("bezahlt (2 lines), storniert (1 line), Lieferung unklar (1 line)", "BEZAHLT, lieferung unklar"),
        ("Which take a sale back, as refunded or cancelled? [storniert]", ""),
        ("bring all lines of an invoice, or only its new ones?", "parts"),
        ("What shall it be called? [bestellungen-2023]", "Unser Laden"),
        ("Write small letters", "shopify"),
        ("There is a mapping shopify. Replace it?", "n"),
        ("What shall it be called?", "laden"),
        ("The first lines, as they would land:", ""),
    )
    assert terminal.end() == 0, terminal.shown
    assert "2023-01-05 09:11:00" in terminal.shown  # on the shop's clock
    assert "laden is saved." in terminal.shown
    mapping = store.named(settings, "laden").mapping
    assert mapping.status.counts == ("bezahlt", "Lieferung unklar")
    assert mapping.status.takes_back == ()
    assert (mapping.status.left_out, mapping.invoices, mapping.time_zone) == (
        ("storniert",),
        "parts",
        "Europe/Berlin",
    )
    assert (settings.inbox_path / "laden").is_dir()

    loaded = subprocess.run(
        [sys.executable, "-m", "ncf_pipeline", "ingest", "--mapping", "laden", str(orders)],
        env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "read by the mapping laden: Bestellungen 2023.csv" in loaded.stdout, loaded.stderr
    assert lines(settings) == [
        ("B-1001", "M-1", 2, "2023-01-05 09:11:00", 10, "Deutschland"),
        ("B-1001", "R-1", 1, "2023-01-05 09:11:00", 20.5, "Deutschland"),
        ("B-1003", "R-1", 1, "2023-01-07 10:11:00", 20.5, "Österreich"),
    ]


@pytest.mark.parametrize("after", ["Enter if this is right", "In which time zone", "Store it as bestellungen-2023?"])
def test_after_ctrl_c_at_any_question_nothing_is_stored(settings, environment, orders, after):
    terminal = Terminal(["mapping", "new", str(orders)], environment, folder=orders.parent)
    questions = ["Enter if this is right", "In which time zone", "count as sales?", "take a sale back", "invoice, or",
                 "be called?", "Store it as bestellungen-2023?"]  # fmt: skip
    answers(terminal, *((question, "") for question in questions[: questions.index(after)]))
    terminal.see(after)
    terminal.type("\x03")
    assert terminal.end() == 1
    assert terminal.shown.rstrip().endswith("You left, so nothing was stored. Run the command again to start over.")
    assert [each.name for each in store.every_mapping(settings)] == list(ready())
    assert not list(orders.parent.glob("*.yaml"))


def test_a_no_at_the_end_writes_the_yaml_instead(settings, environment, orders):
    terminal = Terminal(["mapping", "new", "--name", "laden", str(orders)], environment, folder=orders.parent)
    for question in (
        "Enter if this is right",
        "In which time zone",
        "count as sales?",
        "take a sale back",
        "invoice, or",
    ):
        answers(terminal, (question, ""))
    answers(terminal, ("Store it as laden?", "n"))
    assert terminal.end() == 0, terminal.shown
    assert from_yaml((orders.parent / "laden.yaml").read_text()).name == "laden"
    assert [each.name for each in store.every_mapping(settings)] == list(ready())


def test_what_is_open_is_asked_with_two_examples(environment, tmp_path):
    path = tmp_path / "open.csv"
    path.write_text(
        "Order No,SKU,Qty,Date,Price,Customer,Currency\n1,a,1,01/02/2023,1.234,c1,GBP\n2,b,1,03/04/2023,2.500,c2,EUR\n"
    )
    terminal = Terminal(["mapping", "new", str(path), "--output", "open.yaml"], environment, folder=tmp_path)
    answers(
        terminal,
        ("Enter if this is right", ""),
        ("01/02/2023 and 03/04/2023: which comes first, the day or the month?", "m"),
        ("1.234 and 2.500: which is the decimal mark?", "comma"),
        ("What is 1 GBP in the shop's currency?", "1"),
        ("What is 1 EUR in the shop's currency?", "a lot"),
        ("'a lot' is no rate.", "0.86"),
        ("invoice, or only its new ones?", "x"),
        ("Answer whole or parts.", "whole"),
        ("What shall it be called? [open]", ""),
    )
    assert terminal.end() == 0, terminal.shown
    mapping = from_yaml((tmp_path / "open.yaml").read_text())
    assert (mapping.date_order, mapping.decimal_mark) == ("month first", ",")
    assert {name: float(rate) for name, rate in mapping.currency.rates.items()} == {"GBP": 1, "EUR": 0.86}


def test_columns_that_are_not_found_are_asked_for(environment, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("k1,k2,k3,k4,k5,k6\nA-1,M,5,2023-01-05,1,7\nA-2,N,6,2023-01-06,2,8\n")
    terminal = Terminal(["mapping", "new", str(path), "--output", "odd.yaml"], environment, folder=tmp_path)
    answers(
        terminal,
        ("Which column has the InvoiceNo?", "nothing"),
        ("The file has no column 'nothing'. It has k1, k2", "K1"),
        ("Which column has the StockCode?", "k2"),
        ("Which column has the Quantity?", "k3"),
        ("Which column has the UnitPrice?", "k5"),
        ("Which column has the CustomerID?", "k6"),
        ("Enter if this is right", "unit_price = total: k5"),
        ("← `k5`, of the whole line", ""),
        ("invoice, or only its new ones?", ""),
        ("What shall it be called?", ""),
    )
    assert terminal.end() == 0, terminal.shown
    columns = from_yaml((tmp_path / "odd.yaml").read_text()).columns
    assert (columns.invoice_no.names, columns.unit_price.total) == (("k1",), ("k5",))


def test_without_a_terminal_it_writes_yaml_to_edit_and_says_the_next_step(settings, run, orders, tmp_path):
    done = run("mapping", "new", orders)
    assert done.exit_code == 0, done.output
    assert "to decide: status: put these into counts, takes_back or left_out" in done.output
    assert done.output.rstrip().endswith("Then: ncf-pipeline mapping save bestellungen-2023.yaml")
    text = (tmp_path / "bestellungen-2023.yaml").read_text()
    assert "  invoice_no: Bestellnummer  # B-1001, B-1002, B-1003" in text
    assert (
        "# status: put these into counts, takes_back or left_out; until then, their lines wait: Lieferung unklar"
        in text
    )
    assert "17850" not in text  # it is stored as it is, and names no customer
    mapping = from_yaml(text)
    assert (mapping.status.counts, mapping.status.takes_back) == (("bezahlt",), ("storniert",))
    again = run("mapping", "new", orders)
    assert str(again.exception) == "bestellungen-2023.yaml is there already. Name another file with --output."
    assert run("mapping", "save", "bestellungen-2023.yaml").exit_code == 0
    assert store.named(settings, "bestellungen-2023").yaml == text
    assert "looks like bestellungen-2023" in run("mapping", "new", orders).output


def test_yaml_with_missing_columns_is_written_and_says_what_is_missing(run, tmp_path):
    (tmp_path / "odd.csv").write_text("k1,k2\nA-1,M\n")
    done = run("mapping", "new", "odd.csv", "--json")
    answer = json.loads(done.stdout)
    assert answer["open"][0].startswith("columns: none found for invoice_no, stock_code")
    assert "# invoice_no:  # NOT FOUND, and needed. Columns that are left: k1, k2" in answer["yaml"]
    refused = run("mapping", "save", answer["file"])
    assert isinstance(refused.exception, InputError)
    assert isinstance(run("mapping", "new", "odd.csv", "--save").exception, InputError)


def test_save_stores_it_at_once_if_nothing_has_to_be_decided(settings, run, tmp_path):
    (tmp_path / "Shop.csv").write_text("Order,SKU,Qty,Date,Price,Customer\n1,a,1,2023-01-13,1.50,c1\n")
    done = run("mapping", "new", "Shop.csv", "--save")
    assert done.exit_code == 0, done.output
    assert store.named(settings, "shop").mapping.columns.invoice_no.names == ("Order",)


@pytest.mark.parametrize(
    ("header", "row", "open_"),
    [
        ("Order,SKU,Qty,Date,Price,Customer", "1,a,1,01/02/23,1.50,c1", "date_formats: "),
        ("Order,SKU,Qty,Date,Price,Customer,Status", "1,a,1,2023-01-13,1.50,c1,bananas", "status: "),
        ("Order,SKU,Qty,Date,Price", "1,a,1,2023-01-13,1.50", "columns: none found for customer_id"),
    ],
)
def test_save_stores_nothing_that_would_let_lines_wait(settings, run, tmp_path, header, row, open_):
    (tmp_path / "Shop.csv").write_text(f"{header}\n{row}\n")
    done = run("mapping", "new", "Shop.csv", "--save")
    assert str(done.exception).startswith(f"Nothing was stored, because this has to be decided first: {open_}")
    assert [each.name for each in store.every_mapping(settings)] == list(ready())


def test_of_two_digit_years_the_order_is_asked_for(environment, tmp_path):
    (tmp_path / "shop.csv").write_text("Order,SKU,Qty,Date,Price,Customer\n1,a,1,01/02/23,1.50,c1\n")
    terminal = Terminal(["mapping", "new", "shop.csv", "--output", "s.yaml"], environment, folder=tmp_path)
    answers(
        terminal,
        ("Enter if this is right", ""),
        ("01/02/23: which comes first, the day or the month?", "x"),
        ("Answer day or month.", "month"),
        ("its new ones?", ""),
        ("be called?", ""),
    )
    assert terminal.end() == 0, terminal.shown
    assert "2023-01-02" in terminal.shown
    assert from_yaml((tmp_path / "s.yaml").read_text()).date_formats == ("%m/%d/%y",)


@pytest.mark.parametrize("kind", ["xlsx", "parquet", "csv.gz", "utf-16"])
def test_files_of_every_kind_are_looked_at(run, tmp_path, kind):
    path = tmp_path / f"orders.{'csv' if kind == 'utf-16' else kind}"
    frame = pd.DataFrame(ROWS, columns=NAMES)
    if kind == "xlsx":
        book = Workbook()
        book.active.append(["Export of January"])
        for row in [NAMES, *ROWS]:
            book.active.append(row)
        book.create_sheet("notes").append(["nothing of use"])
        book.save(path)
    elif kind == "parquet":
        frame.assign(extra=[[1]] * 4, raw=[b"x"] * 4).to_parquet(path)
    elif kind == "utf-16":
        frame.to_csv(path, index=False, encoding="utf-16", sep="\t")
    else:
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    answer = json.loads(run("mapping", "new", path, "--json").stdout)
    columns = from_yaml(answer["yaml"]).columns.given()
    assert [column.names[0] for column in columns.values()] == NAMES[:8]


def test_an_encoding_that_cannot_be_told_is_chosen_by_what_reads_right(environment, tmp_path, run):
    path = tmp_path / "magazin.csv"
    path.write_bytes("Order,SKU,Item,Qty,Date,Price,Customer\n1,a,Чашка синяя,1,2023-01-13,1.50,c1\n".encode("cp1251"))
    refused = run("mapping", "new", path)
    assert str(refused.exception).endswith("Or name its encoding, as in --encoding cp1251.")
    terminal = Terminal(["mapping", "new", str(path), "--output", "m.yaml"], environment, folder=tmp_path)
    terminal.see("Which of them reads right?")
    number = next(line.split()[0] for line in terminal.shown.splitlines() if "Чашка" in line)
    answers(
        terminal,
        ("reads right?", "0"),
        ("Answer a number from 1 to", number),
        ("Enter if this is right", ""),
        ("its new ones?", ""),
        ("be called?", ""),
    )
    assert terminal.end() == 0, terminal.shown
    assert from_yaml((tmp_path / "m.yaml").read_text()).encoding == "cp1251"
    assert json.loads(run("mapping", "new", path, "--encoding", "cp1251", "--json").stdout)["name"] == "magazin"


def test_a_shape_that_is_known_is_named_with_the_next_step(run, tmp_path):
    (tmp_path / "orders.csv").write_text(SHOPIFY)
    done = run("mapping", "new", "orders.csv")
    assert done.exit_code == 0
    assert done.output == (
        "orders.csv looks like Shopify. Load it: ncf-pipeline ingest --mapping shopify orders.csv, or put such files "
        "into the inbox's folder shopify.\n"
    )
    answer = json.loads(run("mapping", "new", "orders.csv", "--json").stdout)
    assert answer == {"recognised": "shopify", "next": "ncf-pipeline ingest --mapping shopify orders.csv"}
    assert not (tmp_path / "orders.yaml").exists()
    own = json.loads(run("mapping", "new", "orders.csv", "--name", "ours", "--json").stdout)
    assert from_yaml(own["yaml"]).model_copy(update={"name": "shopify"}).status == ready()["shopify"].status


def test_our_own_columns_need_no_mapping(run, tmp_path):
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    (tmp_path / "day.csv").write_text(f"{header}\n1,a,b,1,2023-01-13,1.50,1,France\n")
    done = run("mapping", "new", "day.csv")
    assert "day.csv has our own columns and needs no mapping. Load it: ncf-pipeline ingest day.csv." in done.output


def test_our_own_columns_may_need_one_that_fills_down(run, tmp_path):
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    rows = "1,a,b,1,2023-01-13,1.50,17850,France\n1,c,d,1,2023-01-13,2.50,,\n"
    (tmp_path / "day.csv").write_text(f"{header}\n{rows}")
    answer = json.loads(run("mapping", "new", "day.csv", "--json").stdout)
    assert from_yaml(answer["yaml"]).fill_down == ("customer_id", "country")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.csv", b"", "empty.csv is empty"),
        ("header.csv", b"Order,SKU\n", "no header with rows below it"),
        ("binary.csv", bytes(range(256)) * 20, "binary.csv"),
        ("zip.csv", b"PK\x03\x04" + bytes(100), "zip.csv is named like CSV text but holds an .xlsx workbook"),
        ("not.xlsx", b"this is text", "not.xlsx is named like an .xlsx workbook but holds"),
        ("damaged.csv.gz", b"\x1f\x8b" + bytes(20), "damaged.csv.gz is damaged"),
        ("damaged.parquet", b"PAR1" + bytes(20), "damaged.parquet is not a readable Parquet file"),
        ("letter.docx", b"x", "letter.docx is none of"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(run, tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    done = run("mapping", "new", name)
    assert isinstance(done.exception, InputError), done.output
    assert reason in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not list(tmp_path.glob("*.yaml"))


def test_a_folder_and_a_file_that_is_not_there_are_one_line(run, tmp_path):
    assert "is a folder" in str(run("mapping", "new", tmp_path).exception)
    assert "cannot be read" in str(run("mapping", "new", tmp_path / "none.csv").exception)
    assert "cannot be read" in str(run("mapping", "save", tmp_path / "none.yaml").exception)


def test_of_a_large_file_only_the_beginning_is_read(run, tmp_path):
    path = tmp_path / "large.csv"
    row = "1,a,1,2023-01-13,1.50,c1\n"
    with path.open("w") as file:
        file.write(f"Order,SKU,Qty,Date,Price,Customer\n{row * 400_000}")
    os.truncate(path, 1 << 30)  # the rest is never written: whoever reads it meets NUL bytes
    answer = json.loads(run("mapping", "new", "large.csv", "--json").stdout)
    assert answer["yaml"].startswith("# Proposed for large.csv, from the first 20,000 rows.")


@pytest.mark.parametrize("name", ["../x", "Shopify", "a" * 41, "", "a b"])
def test_names_that_are_none_are_wrong_usage_or_one_line(run, orders, name):
    assert run("mapping", "new", orders, "--name", name).exit_code == 2
    for command in ("show", "remove"):
        assert "There is no mapping" in str(run("mapping", command, name).exception)
    assert "There is no mapping" in str(run("ingest", "--mapping", name, orders).exception)


def test_a_mapping_is_listed_shown_changed_and_removed(settings, run, tmp_path):
    assert json.loads(run("mapping", "list", "--json").stdout) == [
        {"name": name, "ready": True, "saved_by": None, "saved_at": None, "files_waiting": 0} for name in ready()
    ]
    text = run("mapping", "show", "uci").stdout.replace("name: uci", "name: ours")
    (tmp_path / "ours.yaml").write_text(text)
    saved = json.loads(run("mapping", "save", "ours.yaml", "--json").stdout)
    assert (saved["name"], saved["ready"], saved["replaced"]) == ("ours", False, None)
    assert saved["folder"] == str(settings.inbox_path / "ours")
    (tmp_path / "ours.yaml").write_text(f"{text}invoices: parts\n")
    assert "It takes the place of the one that command line, " in run("mapping", "save", "ours.yaml").output
    (settings.inbox_path / "ours" / "day.csv").write_text("x")
    (settings.inbox_path / "nobody").mkdir()
    (settings.inbox_path / "nobody" / "day.csv").write_text("x")
    shown = run("mapping", "list").output
    assert "command line, " in shown
    assert "1 file waits in the inbox's folder 'nobody', which has no mapping." in shown
    removed = run("mapping", "remove", "ours")
    assert "1 file waits in " in removed.output
    assert (settings.inbox_path / "ours" / "day.csv").exists()
    assert "There is no mapping 'ours'" in str(run("mapping", "show", "ours").exception)
    (settings.inbox_path / "ours" / "day.csv").unlink()
    run("mapping", "save", "ours.yaml")
    assert json.loads(run("mapping", "remove", "ours", "--json").stdout) == {
        "removed": "ours", "ready": False, "files_waiting": 0
    }  # fmt: skip
    assert not (settings.inbox_path / "ours").exists()
    assert "comes with the package" in str(run("mapping", "remove", "uci").exception)


@pytest.mark.parametrize("content", [b"", b"- 1", b"\xff\xfe\x00", b"name: [", b"name: x\ncolumns: 1", b"x" * 100_000])
def test_a_file_that_is_no_mapping_is_one_line(settings, run, tmp_path, content):
    (tmp_path / "no.yaml").write_bytes(content)
    done = run("mapping", "save", "no.yaml")
    assert isinstance(done.exception, InputError), done.output
    assert "\n" not in str(done.exception)
    assert [each.name for each in store.every_mapping(settings)] == list(ready())


def test_two_people_save_the_same_name_at_once(settings, run, environment, tmp_path):
    text = run("mapping", "show", "uci").stdout.replace("name: uci", "name: ours")
    results = []

    def person(number):
        path = tmp_path / f"{number}.yaml"
        path.write_text(f"# of person {number}\n{text}")
        command = [sys.executable, "-m", "ncf_pipeline", "mapping", "save", str(path), "--json"]
        results.append(
            subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
        )

    people = [threading.Thread(target=person, args=(number,)) for number in range(2)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    assert [done.returncode for done in results] == [0, 0]
    assert sorted(json.loads(done.stdout)["replaced"] is None for done in results) == [False, True]


@pytest.mark.parametrize(
    ("content", "mapping", "advice"),
    [
        (SHOPIFY, None, "It looks like Shopify: use --mapping shopify, or put it into inbox/shopify."),
        (
            SHOPIFY.replace(",", ";"),
            None,
            "It looks like Shopify: use --mapping shopify, or put it into inbox/shopify.",
        ),
        (SHOPIFY, "square", "It looks like Shopify: use --mapping shopify, or put it into inbox/shopify."),
        ("Dear,Sir\n1,2\n", None, "Or run `ncf-pipeline mapping new 'a b.csv'`: it asks once how such files look."),
    ],
)
def test_a_refused_file_says_which_mapping_it_looks_made_for(settings, run, tmp_path, content, mapping, advice):
    (tmp_path / "a b.csv").write_text(content)
    done = run("ingest", *(["--mapping", mapping] if mapping else []), "a b.csv")
    assert isinstance(done.exception, NcfError)
    assert str(done.exception).endswith(advice)
    assert "\n" not in str(done.exception)
    assert lines(settings) == []


def test_a_saved_mapping_is_recognised_too(run, orders):
    run("mapping", "new", orders, "--name", "laden")
    run("mapping", "save", "laden.yaml")
    assert str(run("ingest", orders).exception).endswith(
        "It looks like laden: use --mapping laden, or put it into inbox/laden."
    )


@pytest.mark.parametrize("command", ["", "new", "list", "show", "save", "remove"])
def test_each_command_explains_itself(run, command):
    done = run("mapping", *([command] if command else []), "--help")
    assert done.exit_code == 0
    assert "Usage: " in done.stdout
    assert "mapping" in done.stdout
