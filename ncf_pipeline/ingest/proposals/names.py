"""What shops call the columns of an invoice, in English, German, French and Spanish."""

import unicodedata

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.mapping import plain_name

TIME, TOTAL, STATUS, CURRENCY, TIME_ZONE, RETURNED = "time", "total", "status", "currency", "time_zone", "returned"
"""What a column may hold beside ours: the time of day, the price of the whole line, ..., the returned quantity."""

_NAMES = {
    InvoiceLines.INVOICE_NO: """
        invoice no, invoice number, invoice id, invoice, order no, order number, order id, order name, order ref, order,
        order reference, receipt no, receipt number, receipt id, receipt, transaction id, transaction no, transaction
        number, transaction, sales order, sales order no, sale id, ticket no, ticket, basket id, document no, document
        number, doc no, purchase id, Bestellnummer, Bestellnr, Bestell-ID, Bestellung, Auftragsnummer, Auftragsnr,
        Auftrag, Rechnungsnummer, Rechnungsnr, Rechnung, Belegnummer, Belegnr, Beleg, Bonnummer, Bonnr, Bon,
        Vorgangsnummer, numéro de commande, numéro commande, n° de commande, n° commande, no commande, num commande,
        référence commande, référence de commande, id commande, commande, numéro de facture, numéro facture, n° facture,
        num facture, facture, número de pedido, número pedido, nº de pedido, nº pedido, n° pedido, num pedido, id
        pedido, pedido, número de factura, número factura, nº factura, n° factura, num factura, factura, id de pedido
    """,
    InvoiceLines.STOCK_CODE: """
        stock code, SKU, sku code, item sku, product sku, lineitem sku, variant sku, article no, article number, article
        code, article id, item code, item no, item number, item id, product code, product id, product no, product
        number, part number, part no, EAN, GTIN, UPC, barcode, PLU, ISBN, ASIN, Artikelnummer, Artikelnr, Art.-Nr.,
        Artikelcode, Artikel-ID, Artikel Nr, Materialnummer, Produktnummer, Produktnr, Produktcode, Produkt-ID,
        Warennummer, Artikel, référence article, référence produit, réf article, réf produit, code article, code
        produit, id produit, référence, réf, code barre, article, código de artículo, código artículo, código de
        producto, código producto, id producto, id de producto, referencia producto, referencia artículo, referencia,
        ref producto, código, código de barras, artículo, code
    """,
    InvoiceLines.DESCRIPTION: """
        description, product name, item name, product title, title, item description, product description, item,
        lineitem name, article name, product, Bezeichnung, Artikelbezeichnung, Produktbezeichnung, Artikelname,
        Produktname, Beschreibung, Artikelbeschreibung, Warenbezeichnung, Produkt, désignation, libellé, libellé
        article, libellé produit, nom du produit, nom produit, nom de l'article, intitulé, produit, descripción, nombre
        del producto, nombre producto, nombre del artículo, denominación, producto
    """,
    InvoiceLines.QUANTITY: """
        quantity, qty, quantity ordered, qty ordered, ordered quantity, quantity sold, item quantity, lineitem quantity,
        order quantity, units, units sold, pieces, pcs, no of items, count, Menge, Anzahl, Stück, Stueck, Stk,
        Stückzahl, Stueckzahl, Bestellmenge, Verkaufsmenge, quantité, qté, quantité commandée, qté commandée, quantité
        vendue, cantidad, cant, unidades, uds, cantidad pedida, cantidad vendida
    """,
    InvoiceLines.INVOICE_DATE: """
        invoice date, order date, order datetime, created at, order created, ordered at, order created at, placed at,
        date created, date ordered, purchase date, purchased at, transaction date, sale date, sold at, date time,
        datetime, timestamp, paid at, date, Bestelldatum, Rechnungsdatum, Auftragsdatum, Belegdatum, Kaufdatum,
        Verkaufsdatum, Buchungsdatum, bestellt am, Datum, Datum Uhrzeit, Zeitpunkt, Zeitstempel, date de commande, date
        commande, date de la commande, date de facture, date facture, date d'achat, date achat, date et heure, date
        heure, date de vente, fecha de pedido, fecha pedido, fecha del pedido, fecha de factura, fecha factura, fecha de
        compra, fecha compra, fecha de venta, fecha y hora, fecha hora, fecha
    """,
    InvoiceLines.UNIT_PRICE: """
        unit price, price, item price, lineitem price, price each, price per unit, unit price gbp, unit price eur, unit
        price usd, selling price, sales price, sale price, product price, price paid, net price, gross price, item cost,
        unit amount, Einzelpreis, Stückpreis, Stueckpreis, Preis, Verkaufspreis, VK-Preis, E-Preis, Preis pro Stück,
        Preis je Stück, Preis pro Einheit, Artikelpreis, Einzelpreis netto, Einzelpreis brutto, prix unitaire, prix, PU,
        PU HT, PU TTC, prix unitaire HT, prix unitaire TTC, prix de vente, prix à l'unité, precio unitario, precio,
        precio unidad, precio por unidad, PVP, precio de venta, precio venta
    """,
    InvoiceLines.CUSTOMER_ID: """
        customer id, customer no, customer number, customer code, customer, client id, user id, buyer id, account id,
        account no, account number, member id, loyalty id, shopper id, customer user, customer email, buyer email,
        billing email, email, e-mail, email address, user email, Kundennummer, Kundennr, Kd.-Nr., Kunden-ID, Kundencode,
        Kunde, Kunden-E-Mail, E-Mail-Adresse, Debitor, numéro client, numéro de client, n° client, num client, id
        client, code client, client, courriel, adresse email, adresse e-mail, email client, número de cliente, número
        cliente, nº cliente, nº de cliente, n° cliente, num cliente, id cliente, id de cliente, código cliente, código
        de cliente, cliente, correo electrónico, correo, email cliente
    """,
    InvoiceLines.COUNTRY: """
        country, billing country, shipping country, country code, customer country, ship country, bill country, ship to
        country, delivery country, country region, billing country code, shipping country code, Land, Lieferland,
        Rechnungsland, Ländercode, Laendercode, Länderkürzel, Staat, pays, pays de livraison, pays de facturation, pays
        livraison, pays facturation, code pays, país, país de envío, país de facturación, país envío, país facturación,
        código país
    """,
    TIME: """
        time, order time, transaction time, time of day, invoice time, Uhrzeit, Zeit, Bestellzeit, heure, heure
        commande, heure de commande, hora, hora del pedido, hora pedido
    """,
    TOTAL: """
        line total, line amount, total price, item total, gross sales, net sales, total amount, extended price, amount,
        total, subtotal, revenue, sales, Gesamtpreis, Zeilensumme, Positionssumme, Positionsbetrag, Gesamtbetrag,
        Gesamt, Summe, Betrag, Umsatz, montant total, prix total, total ligne, montant ligne, montant, total HT, total
        TTC, importe total, precio total, importe, total línea, total de línea
    """,
    STATUS: """
        financial status, payment status, order status, status, state, event type, Bestellstatus, Auftragsstatus,
        Zahlungsstatus, Zustand, statut, statut de la commande, statut commande, statut de paiement, état, état de la
        commande, état commande, estado, estado del pedido, estado pedido, estado de pago
    """,
    CURRENCY: """
        currency, currency code, order currency, Währung, Waehrung, Währungscode, devise, monnaie, moneda, divisa
    """,
    TIME_ZONE: "time zone, timezone, tz, Zeitzone, fuseau horaire, zona horaria",
    RETURNED: """
        refunded quantity, quantity refunded, refunded qty, qty refunded, returned quantity, quantity returned, returned
        qty, qty returned, item refunded quantity, item refunded qty, Retourmenge, Retourenmenge, retournierte Menge,
        Menge retourniert, quantité retournée, quantité remboursée, cantidad devuelta, cantidad reembolsada
    """,
}

_COUNTS = """
    paid, partially paid, complete, completed, processing, shipped, partially shipped, fulfilled, delivered, invoiced,
    success, succeeded, sold, sale, payment, partially refunded, closed, done, bezahlt, abgeschlossen, versendet,
    versandt, geliefert, erledigt, in Bearbeitung, fakturiert, payé, payée, terminé, terminée, expédié, expédiée, livré,
    livrée, en cours, pagado, pagada, completado, completada, enviado, enviada, entregado, entregada, procesando
"""
_TAKES_BACK = """
    refunded, refund, cancelled, canceled, voided, void, returned, return, chargeback, storniert, Storno, erstattet,
    rückerstattet, zurückgegeben, Retoure, annulé, annulée, remboursé, remboursée, retourné, retournée, cancelado,
    cancelada, anulado, anulada, reembolsado, reembolsada, devuelto, devuelta
"""
_LEFT_OUT = """
    pending, pending payment, on hold, failed, draft, authorized, unpaid, open, new, expired, abandoned, checkout draft,
    awaiting payment, offen, ausstehend, neu, Entwurf, fehlgeschlagen, unbezahlt, en attente, brouillon, échoué,
    échouée, impayé, impayée, pendiente, borrador, fallido, en espera, impagado
"""


def key(name: str) -> str:
    """A name as it is compared here: also without accents.

    >>> key("N° de commande"), key("Stückpreis")
    ('ndecommande', 'stuckpreis')
    """
    letters = unicodedata.normalize("NFKD", name)
    return plain_name("".join(each for each in letters if not unicodedata.combining(each)))


def _ranks(names: str) -> dict[str, int]:
    ranks: dict[str, int] = {}
    for rank, name in enumerate(names.split(",")):
        ranks.setdefault(key(name), rank)
    return ranks


_KNOWN = {column: _ranks(names) for column, names in _NAMES.items()}
_FATE = {"counts": _ranks(_COUNTS), "takes_back": _ranks(_TAKES_BACK), "left_out": _ranks(_LEFT_OUT)}
_LEAST = 5
"""Letters that a known name needs, to count where it is only a part of a name."""


def name_score(name: str, column: str) -> float:
    """How surely a file's column of this name holds what is asked for: from 0 to 1.

    Args:
        name: as the header has it.
        column: one of our columns, or of the constants of this module.

    >>> name_score("Bestellnummer", "invoice_no") > name_score("Bestellung", "invoice_no") > 0.9
    True
    >>> name_score("Colour", "invoice_no")
    0.0
    """
    ranks, asked = _KNOWN[column], key(name)
    if asked in ranks:
        return 1 - ranks[asked] / 1000
    parts = [known for known in ranks if len(known) >= _LEAST and (asked.startswith(known) or asked.endswith(known))]
    if not asked or not parts:
        return 0.0
    return 0.6 * max(len(part) for part in parts) / len(asked)


def fate_of(status: str) -> str | None:
    """What becomes of lines with a status: `counts`, `takes_back` or `left_out`; None if the word is not known.

    >>> fate_of("Refunded"), fate_of("wc-completed"), fate_of("bananas")
    ('takes_back', 'counts', None)
    """
    asked = key(status)
    return next((fate for fate, words in _FATE.items() if asked in words or asked.removeprefix("wc") in words), None)
