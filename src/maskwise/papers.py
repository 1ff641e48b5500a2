"""Where the papers are that this package names: each under the words that name it."""

from __future__ import annotations

import re

ARXIV, DOI = "https://arxiv.org/abs/", "https://doi.org/"
PAPERS = {
    "Zolna, Geras, Cho 2020": ARXIV + "1805.08249",
    "Zolna et al. 2020": ARXIV + "1805.08249",
    "Phang et al. 2020": ARXIV + "2010.09750",
    "Phang et al. 2021": ARXIV + "2010.09750",
    "SESS, Table 1": ARXIV + "2207.01769",
    "Tursun et al. 2022": ARXIV + "2207.01769",
    "Dabkowski & Gal 2017": ARXIV + "1705.07857",
    "Zhou et al. 2016": ARXIV + "1512.04150",
    "Selvaraju et al. 2017": ARXIV + "1610.02391",
    "Chattopadhay et al. 2018": ARXIV + "1710.11063",
    "Omeiza et al. 2019": ARXIV + "1908.01224",
    "Jiang et al. 2021": DOI + "10.1109/TIP.2021.3089943",
    "Wang et al. 2020": ARXIV + "1910.01279",
    "Zhang, Rao, Yang 2021": ARXIV + "2103.13859",
    "Zhang et al. 2016": ARXIV + "1608.00507",
    "Simonyan, Vedaldi, Zisserman 2013": ARXIV + "1312.6034",
    "Springenberg et al. 2015": ARXIV + "1412.6806",
    "Zeiler & Fergus 2014": ARXIV + "1311.2901",
    "Zeiler and Fergus 2014": ARXIV + "1311.2901",
    "Mahendran and Vedaldi 2016": DOI + "10.1007/978-3-319-46466-4_8",
    "Smilkov et al. 2017": ARXIV + "1706.03825",
    "Sundararajan, Taly, Yan 2017": ARXIV + "1703.01365",
    "Shrikumar et al. 2016": ARXIV + "1605.01713",
    "Bach et al. 2015": DOI + "10.1371/journal.pone.0130140",
    "Kapishnikov et al. 2019": ARXIV + "1906.02825",
    "Fong & Vedaldi 2017": ARXIV + "1704.03296",
    "Fong, Patrick, Vedaldi 2019": ARXIV + "1910.08485",
    "Fong et al. 2019": ARXIV + "1910.08485",
    "Petsiuk, Das, Saenko 2018": ARXIV + "1806.07421",
    "Petsiuk et al. 2018": ARXIV + "1806.07421",
    "Chang et al. 2019": ARXIV + "1807.08024",
    "Cao et al. 2015": DOI + "10.1109/ICCV.2015.338",
    "Du et al. 2018": ARXIV + "1804.00506",
    "Ntrougkas et al. 2024": ARXIV + "2403.04523",
    "Covert, Kim, Zou, Hashimoto 2024": ARXIV + "2401.15866",
    "Covert, Lee 2021": ARXIV + "2012.01536",
    "Covert et al. 2023": ARXIV + "2206.05282",
    "Jethani et al. 2022": ARXIV + "2107.07436",
    "Lundberg, Lee 2017": ARXIV + "1705.07874",
    "Adebayo et al. 2018": ARXIV + "1810.03292",
    "Choe et al. 2020 (journal version)": ARXIV + "2007.04178",
    "Choe et al. 2020": ARXIV + "2001.07437",
    "Russakovsky et al. 2015": ARXIV + "1409.0575",
    "Abnar, Zuidema 2020": ARXIV + "2005.00928",
    "Chefer, Gur, Wolf 2021": ARXIV + "2103.15679",
    "Bousselham et al. 2025": ARXIV + "2404.03214",
    "Zhao et al. 2024": ARXIV + "2502.18816",
    "Byun, Lee 2022": ARXIV + "2209.14074",
    "Rong et al. 2022": ARXIV + "2202.00449",
    "Samek et al. 2017": ARXIV + "1509.06321",
    "Arras et al. 2022": ARXIV + "2003.07258",
    "Hesse et al. 2024": ARXIV + "2407.11910",
    "Bhatt et al. 2020": ARXIV + "2005.00631",
    "Yeh et al. 2019": ARXIV + "1901.09392",
    "Zhang et al. 2024 (Opti-CAM)": ARXIV + "2301.07002",
    "Kolek et al. 2023 (ShearletX)": ARXIV + "2211.12857",
    "Otsu 1979": DOI + "10.1109/TSMC.1979.4310076",
}
NAMED = re.compile("|".join(map(re.escape, sorted(PAPERS, key=len, reverse=True))))


def paper_links(text: str) -> list[str]:
    """Addresses of the papers that a text names, in its order, each once.

    Example:
        >>> paper_links("Zhang et al. 2016; chance")
        ['https://arxiv.org/abs/1608.00507']
    """
    return list(dict.fromkeys(PAPERS[name] for name in NAMED.findall(text)))


def with_paper_links(markdown: str) -> str:
    """Markdown in which each paper's first mention is a link; code and what is a link already stay as they are.

    Example:
        >>> with_paper_links("Du et al. 2018, `Du et al. 2018`")
        '[Du et al. 2018](https://arxiv.org/abs/1804.00506), `Du et al. 2018`'
    """
    seen: set[str] = set()

    def link(found: re.Match[str]) -> str:
        address = PAPERS[found[0]]
        if address in seen:
            return found[0]
        seen.add(address)
        return f"[{found[0]}]({address})"

    aside = re.compile(r"(^```.*?^```|`[^`\n]+`|!?\[[^\]]*\]\([^)]*\)|^#.*?$)", re.S | re.M)
    parts = aside.split(markdown)
    return "".join(part if i % 2 else NAMED.sub(link, part) for i, part in enumerate(parts))
