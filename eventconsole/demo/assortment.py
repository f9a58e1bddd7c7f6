"""What the shop sells, and to whom: names for the traffic."""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    id: str
    sku: str
    name: str
    category: str
    price: float


PRODUCTS = (
    Product("prod-1", "LAMP-DESK-01", "Desk lamp", "lighting", 99.99),
    Product("prod-2", "LAMP-FLOOR-02", "Floor lamp", "lighting", 149.00),
    Product("prod-3", "CHAIR-OAK-01", "Oak chair", "furniture", 189.50),
    Product("prod-4", "TABLE-OAK-02", "Oak table", "furniture", 549.00),
    Product("prod-5", "SHELF-PINE-01", "Pine shelf", "furniture", 84.90),
    Product("prod-6", "MUG-STONE-04", "Stoneware mug", "kitchen", 14.50),
    Product("prod-7", "KETTLE-1L-02", "Kettle, 1 l", "kitchen", 39.95),
    Product("prod-8", "KNIFE-CHEF-01", "Chef's knife", "kitchen", 74.00),
    Product("prod-9", "BLANKET-WOOL-3", "Wool blanket", "textiles", 119.00),
    Product("prod-10", "CUSHION-LIN-2", "Linen cushion", "textiles", 29.90),
    Product("prod-11", "TOWEL-COT-06", "Cotton towel", "textiles", 17.80),
    Product("prod-12", "CLOCK-WALL-01", "Wall clock", "decoration", 45.00),
    Product("prod-13", "VASE-GLASS-03", "Glass vase", "decoration", 34.25),
    Product("prod-14", "PLANT-POT-05", "Plant pot", "decoration", 12.99),
    Product("prod-15", "NOTEBOOK-A5-1", "Notebook A5", "stationery", 8.40),
    Product("prod-16", "PEN-BRASS-01", "Brass pen", "stationery", 27.00),
)

FIRST_NAMES = (
    "Ada",
    "Amir",
    "Beatriz",
    "Chidi",
    "Dalia",
    "Emil",
    "Fatima",
    "Giulia",
    "Hiro",
    "Ingrid",
    "Jonas",
    "Keiko",
    "Luca",
    "Mei",
    "Noor",
    "Oskar",
)
LAST_NAMES = (
    "Okafor",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Novak",
    "Pereira",
    "Rossi",
    "Schmidt",
    "Haddad",
    "Jensen",
    "Kowalski",
    "Tanaka",
)
CITIES = (
    ("50667", "Köln", "DE"),
    ("69002", "Lyon", "FR"),
    ("1012", "Amsterdam", "NL"),
    ("20121", "Milano", "IT"),
    ("1000-001", "Lisboa", "PT"),
    ("00-001", "Warszawa", "PL"),
)
STREETS = ("Lindenweg", "Rue Neuve", "Kerkstraat", "Via Roma", "Rua Augusta", "Stationsplein", "Gartenstraße")
