"""What every indicator and named method is: names in English and Dutch, unit, formula, source.

The one place for these words: the labels table, the dossiers and the UI read them from here.
"""

from __future__ import annotations

from dataclasses import dataclass

METHOD_VERSION = "1"


@dataclass(frozen=True)
class Definition:
    """An indicator or a method in words."""

    name: str
    name_en: str
    name_nl: str
    unit: str
    formula: str
    source: str


INDICATORS: dict[str, Definition] = {
    "M": Definition(
        "imports", "Imports", "Invoer", "thousand USD or t", "sum_i X[i,f]; bloc: from outside", "CEPII BACI"
    ),
    "C1": Definition(
        "hhi_import",
        "Concentration of imports",
        "Concentratie van de invoer",
        "index 0-1",
        "sum_i s_i^2",
        "CEPII GeoDep; SWD(2021)352 CDI1; CBS 2021",
    ),
    "C2": Definition(
        "hhi_world_export",
        "Concentration of world exports",
        "Concentratie van de werelduitvoer",
        "index 0-1",
        "sum_i e_i^2 over all exporters; a bloc is one exporter, its internal trade left out",
        "CEPII GeoDep",
    ),
    "C3": Definition(
        "hhi_production",
        "Concentration of world production",
        "Concentratie van de wereldproductie",
        "index 0-1",
        "sum_c (p_c / sum p)^2 over producers, any form of the material, totals left out",
        "TNO",
    ),
    "C4a": Definition(
        "top1_share_imports",
        "Largest third country, share of imports",
        "Grootste derde land, aandeel in de invoer",
        "share",
        "max_{c not in f, not in EU27} M[c] / sum_i M[i]",
        "Regulation (EU) 2024/1252",
    ),
    "C4b": Definition(
        "top1_share_traced",
        "Largest third country, share of traced supply",
        "Grootste derde land, aandeel in het herleide aanbod",
        "share",
        "max_{c not in f, not in EU27} x_0[c]",
        "Regulation (EU) 2024/1252",
    ),
    "C5": Definition(
        "extra_eu_share",
        "Share of imports from outside the EU",
        "Aandeel van de invoer van buiten de EU",
        "share",
        "extra-EU27 imports / all imports, intra-EU included",
        "SWD(2021)352 CDI2",
    ),
    "S1": Definition(
        "imports_over_exports",
        "Imports over exports",
        "Invoer gedeeld door uitvoer",
        "ratio",
        "M / X of the focus",
        "CEPII GeoDep",
    ),
    "S1b": Definition(
        "cdi3",
        "Extra-EU imports over all EU exports",
        "Invoer van buiten de EU gedeeld door alle EU-uitvoer",
        "ratio",
        "extra-EU imports / (extra-EU + intra-EU exports)",
        "SWD(2021)352 CDI3",
    ),
    "S2": Definition(
        "alternative_capacity",
        "Alternative capacity",
        "Alternatieve capaciteit",
        "ratio",
        "sum_{i != top, i not in f} (E[i] - M[i]) / M[top]",
        "ketenpipe",
    ),
    "G1": Definition(
        "wgi_risk",
        "Governance risk of a country",
        "Bestuursrisico van een land",
        "index 0-1",
        "clip((2.5 - estimate)/5, 0, 1)",
        "World Bank WGI",
    ),
    "G2": Definition(
        "wgi_weighted",
        "Governance risk of a mix",
        "Bestuursrisico van een mix",
        "index 0-1",
        "sum_c share_c risk_c, renormalised over scored countries",
        "TNO",
    ),
    "G3": Definition(
        "hhi_wgi",
        "Concentration weighted by governance risk",
        "Concentratie gewogen met bestuursrisico",
        "index 0-10",
        "10 sum_c share_c^2 risk_c over scored countries, not renormalised",
        "EC criticality",
    ),
    "O1": Definition(
        "hhi_traced",
        "Foreign concentration of traced supply",
        "Buitenlandse concentratie van het herleide aanbod",
        "index 0-1",
        "sum_{c not in f} x[c]^2, not renormalised",
        "Kastner et al. 2011; ketenpipe",
    ),
    "O1r": Definition(
        "hhi_traced_renormalised",
        "Concentration within the foreign part of traced supply",
        "Concentratie binnen het buitenlandse deel van het herleide aanbod",
        "index 0-1",
        "sum x[c]^2 / (sum x[c])^2 over known c not in f; never flags",
        "ketenpipe",
    ),
    "O2": Definition(
        "hub_gap",
        "Hub gap",
        "Doorvoerverschil",
        "index difference",
        "HHI of the traced foreign mix - HHI of the direct mix, both by mass and renormalised",
        "ketenpipe",
    ),
    "own_share": Definition(
        "own_share",
        "Own share of the traced supply",
        "Eigen aandeel in het herleide aanbod",
        "share",
        "sum_{c in f} x[c]",
        "Kastner et al. 2011",
    ),
    "unknown_share": Definition(
        "unknown_share",
        "Share of unknown origin",
        "Aandeel van onbekende oorsprong",
        "share",
        "x[UNK]",
        "ketenpipe",
    ),
    "imputed_share": Definition(
        "imputed_share",
        "Share that rests on imputed production",
        "Aandeel dat op geraamde productie rust",
        "share",
        "sum_c O[f,c] d_c",
        "ketenpipe",
    ),
    "value_without_mass": Definition(
        "value_without_mass",
        "Import value without a quantity",
        "Invoerwaarde zonder hoeveelheid",
        "share",
        "value of rows without tonnes / value",
        "CEPII BACI",
    ),
    "T": Definition(
        "node_test",
        "Node test (plane)",
        "Knooptoets (vlak)",
        "0/1",
        "O1 > 0.4 and G2 of the foreign part > 0.5",
        "TNO's plane, cut-offs ketenpipe's",
    ),
    "geodep_criteria": Definition(
        "geodep_criteria",
        "GeoDep criteria in one year",
        "GeoDep-criteria in een jaar",
        "0/1",
        "C1 > 0.4 and C2 > 0.4 and S1 > 1",
        "CEPII GeoDep",
    ),
    "P1": Definition(
        "persistence",
        "Years of the last three in which C1, C2 and S1 all flag",
        "Jaren van de laatste drie waarin C1, C2 en S1 alle drie aanslaan",
        "years",
        "sum_{t-2..t} geodep_criteria",
        "CEPII GeoDep",
    ),
    "P2": Definition(
        "churn",
        "Churn of a method's flagged set",
        "Verloop van de verzameling signalen van een methode",
        "share",
        "1 - |F_t and F_t-1| / |F_t-1|",
        "Vicard and Wibaux 2023",
    ),
    "X1": Definition(
        "indirect_specific",
        "Indirect dependency, specific to the focus",
        "Indirecte afhankelijkheid, eigen aan het land",
        "0/1",
        "tier 0 fails T, a buyer-specific node of tier 1-2 with path weight >= 0.05 passes it",
        "ketenpipe",
    ),
    "X1g": Definition(
        "indirect_global",
        "Indirect dependency, the same for every country",
        "Indirecte afhankelijkheid, gelijk voor elk land",
        "0/1",
        "tier 0 fails T, an upstream node has C3 > 0.4 and G2 over all producers > 0.5",
        "TNO",
    ),
    "X2": Definition(
        "weakest_link",
        "Weakest link",
        "Zwakste schakel",
        "index 0-1",
        "max over buyer-specific nodes of path weight * sum_{c not in f} x[c]^2 risk_c",
        "ketenpipe",
    ),
    "X2_global": Definition(
        "weakest_link_global",
        "Weakest link among nodes on the world mix",
        "Zwakste schakel op de wereldmix",
        "index 0-1",
        "the same over world-mix nodes",
        "ketenpipe",
    ),
    "hidden_exposure": Definition(
        "hidden_exposure",
        "Hidden exposure",
        "Verborgen blootstelling",
        "share",
        "max over buyer-specific nodes of tier >= 1 and c not in f of x_node[c] - x_0[c]",
        "ketenpipe",
    ),
    "hidden_exposure_global": Definition(
        "hidden_exposure_global",
        "Hidden exposure on the world mix",
        "Verborgen blootstelling op de wereldmix",
        "share",
        "the same over world-mix nodes",
        "ketenpipe",
    ),
}

METHODS: dict[str, Definition] = {
    "geodep": Definition(
        "geodep",
        "GeoDep (CEPII)",
        "GeoDep (CEPII)",
        "0/1",
        "C1 > 0.4, C2 > 0.4 and S1 > 1 in at least 2 of the last 3 years",
        "CEPII GeoDep",
    ),
    "swd2021": Definition(
        "swd2021",
        "European Commission 2021 (CDI)",
        "Europese Commissie 2021 (CDI)",
        "0/1",
        "CDI1 > 0.4, CDI2 > 0.5 and CDI3 > 1; focus EU27",
        "SWD(2021)352",
    ),
    "cbs": Definition(
        "cbs",
        "CBS bands on import concentration",
        "CBS-banden op invoerconcentratie",
        "0/1",
        "C1 > 0.25 high, > 0.15 moderate",
        "CBS 2021",
    ),
    "crma65": Definition(
        "crma65",
        "CRMA benchmark of 65 % from one third country",
        "CRMA-ijkpunt van 65 % uit één derde land",
        "0/1",
        "C4b > 0.65 where production is observed, else C4a > 0.65 (proxy)",
        "Regulation (EU) 2024/1252",
    ),
    "tno": Definition(
        "tno",
        "TNO's plane of world production",
        "TNO-vlak van de wereldproductie",
        "0/1",
        "C3 > 0.4 and its G2 > 0.5",
        "TNO; cut-offs ketenpipe's",
    ),
    "node_test": Definition(
        "node_test",
        "Node test on traced supply",
        "Knooptoets op het herleide aanbod",
        "0/1",
        INDICATORS["T"].formula,
        "TNO's plane, cut-offs ketenpipe's",
    ),
    "indirect_specific": Definition(
        "indirect_specific",
        "Indirect, specific to the focus",
        "Indirect, eigen aan het land",
        "0/1",
        INDICATORS["X1"].formula,
        "ketenpipe",
    ),
    "indirect_global": Definition(
        "indirect_global",
        "Indirect, the same for every country",
        "Indirect, gelijk voor elk land",
        "0/1",
        INDICATORS["X1g"].formula,
        "TNO",
    ),
}

REASONS: dict[str, tuple[str, str]] = {
    "no_imports": ("the focus imports none", "geen invoer"),
    "no_imports_no_exports": ("the focus neither imports nor exports it", "geen invoer en geen uitvoer"),
    "no_exports": ("the focus imports and exports none, the ratio is undefined", "wel invoer, geen uitvoer"),
    "no_mass": ("none of the imports has a quantity", "geen van de invoer heeft een hoeveelheid"),
    "no_exports_in_the_world": ("nobody exports it", "geen uitvoer ter wereld"),
    "no_governance_score": ("no country of the mix has a governance score", "geen bestuursscore"),
    "no_governance_data": ("the sources hold no governance data", "de bronnen bevatten geen bestuursdata"),
    "no_production_data": ("no production statistic for this material and year", "geen productiestatistiek"),
    "no_supply": ("the focus has no supply in the data", "geen aanbod in de data"),
    "no_member_consumes": ("no member consumes any", "geen lid verbruikt het"),
    "export_proxy": (
        "production is only an export proxy, a lower bound",
        "productie is slechts een schatting uit de uitvoer, een ondergrens",
    ),
    "producer_list": (
        "production is a cited list of producers, no statistic",
        "productie is een aangehaalde lijst van producenten, geen statistiek",
    ),
    "small_or_precious": (
        "under 100 t imported or above 1 million USD a tonne: nothing is cleared",
        "minder dan 100 t invoer of meer dan 1 miljoen USD per ton: niets wordt vrijgesproken",
    ),
    "low_confidence": ("more than a tenth of the supply is imputed", "meer dan een tiende is geraamd"),
    "window_incomplete": ("the window is incomplete", "het venster is onvolledig"),
    "mirror_only": ("known from the partners' reports only", "alleen bekend uit de opgaven van handelspartners"),
    "wgi_vintage": ("the WGI edition changes within the comparison", "de WGI-editie verandert binnen de vergelijking"),
    "no_upstream_node": ("the catalogue has nothing upstream", "de catalogus heeft niets stroomopwaarts"),
    "only_world_mix_upstream": (
        "upstream only world production is known, the same for every country",
        "stroomopwaarts is alleen de wereldproductie bekend, gelijk voor elk land",
    ),
    "upstream_not_computable": (
        "the sources hold no trade data for the steps upstream",
        "de bronnen hebben geen handelsdata over de stappen stroomopwaarts",
    ),
    "path_weight_unknown": ("the intensity of the path is not known", "de intensiteit van het pad is onbekend"),
    "path_weight_small": ("every path upstream weighs too little", "elk pad stroomopwaarts weegt te weinig"),
    "no_foreign_supply": ("nothing of it is foreign", "niets ervan is buitenlands"),
    "no_direct_mass": ("the direct imports have no quantity", "de directe invoer heeft geen hoeveelheid"),
    "zero_output": ("the industry has no output", "de bedrijfstak heeft geen productie"),
    "no_intermediate_inputs": (
        "the industry buys no intermediate inputs",
        "de bedrijfstak koopt geen intermediaire goederen",
    ),
    "no_foreign_inputs": ("none of the industry's inputs are foreign", "geen van de inputs is buitenlands"),
    "no_intermediate_sales": ("the industry sells to final use only", "de bedrijfstak verkoopt alleen finaal"),
    "no_face_value": ("nothing is bought there directly, the ratio is undefined", "geen directe inkoop aldaar"),
    "no_inputs_from_there": ("no inputs come from there, at any tier", "geen inputs vandaar, in geen enkele schakel"),
    "no_value_added": ("the table has no value added behind the industry", "geen toegevoegde waarde in de tabel"),
    "rank_only": ("a rank only, no loss in money", "alleen een rangorde, geen verlies in geld"),
    "singular_table": (
        "the chain runs through industries that only feed each other, its sum has no end",
        "de keten loopt door bedrijfstakken die alleen elkaar beleveren, de som heeft geen einde",
    ),
    "not_productive": (
        "the chain runs through industries that use more inputs than they make, its sum has no end",
        "de keten loopt door bedrijfstakken die meer gebruiken dan zij maken, de som heeft geen einde",
    ),
    "below_minimum": ("imports below the minimum value", "invoer onder de minimumwaarde"),
    "proxy_direct_imports": (
        "decided on direct imports, because production is not observed",
        "beslist op directe invoer, omdat productie niet is waargenomen",
    ),
    "previous_set_empty": ("nothing was flagged the year before", "het jaar ervoor geen signalen"),
    "eu27_only": ("defined for the EU27 only", "alleen gedefinieerd voor de EU27"),
    "rest_of_world_decides": (
        "the rest of the world, or unknown origin, decides: it cannot be told",
        "de rest van de wereld, of onbekende herkomst, beslist: niet te zeggen",
    ),
    "subset_of_products": (
        "the sources hold fewer than half of the HS6 codes: a whole delivery falls on few of them",
        "de bronnen bevatten minder dan de helft van de HS6-codes: een hele levering valt op enkele",
    ),
    "relief_not_computed": (
        "what others could sell instead is computed for nodes of the catalogue only",
        "wat anderen in plaats daarvan kunnen leveren is alleen voor knopen van de catalogus berekend",
    ),
    "one_recipe_per_industry": (
        "one recipe stands for all products of the industry: indicative only",
        "één recept staat voor alle producten van de bedrijfstak: slechts indicatief",
    ),
    "origin_by_value": ("the origin is traced by value, no mass is known", "herkomst naar waarde, massa is onbekend"),
    "recipe_of_another_year": (
        "the sources hold no input-output table of that year; the nearest earlier one stands, else the earliest",
        "de bronnen hebben geen input-outputtabel van dat jaar; de laatste eerdere geldt, anders de vroegste",
    ),
    "synthetic": ("the input-output table is made up", "de input-outputtabel is verzonnen"),
    "no_industry": ("the code belongs to no industry of the table", "de code hoort bij geen bedrijfstak van de tabel"),
    "no_region": ("the table has no region of the focus", "de tabel bevat geen regio van de focus"),
    "no_recipe": (
        "nowhere it is made does the table have a recipe for it",
        "nergens waar het gemaakt wordt heeft de tabel er een recept voor",
    ),
    "no_product": ("the industry has no products in the HS", "de bedrijfstak heeft geen producten in het HS"),
    "no_user_with_known_origins": (
        "none of its users has known origins, so nothing of it can be followed to the focus",
        "van geen gebruiker is de herkomst bekend, er is niets te volgen",
    ),
    "no_way_above_threshold": (
        "no known producer that counts is joined to the focus",
        "geen bekende producent die meetelt is met de focus verbonden",
    ),
    "rest_over_half": (
        "more than half of the supply is left out: small suppliers or unknown producers",
        "meer dan de helft van het aanbod telt niet mee: kleine leveranciers of onbekende producenten",
    ),
}
