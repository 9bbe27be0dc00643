"""Geography: capitals and continents of countries."""

from __future__ import annotations

from palimpsest.data.choice_tasks.contents import TABLE, Content, Task, table

_CAPITALS = table(
    """
    western Europe: France Paris, Germany Berlin, Austria Vienna, Belgium Brussels, Ireland
    Dublin, England London, Scotland Edinburgh, Wales Cardiff, Holland Amsterdam, Switzerland
    Bern
    southern Europe: Italy Rome, Spain Madrid, Portugal Lisbon, Greece Athens, Malta Valletta,
    Croatia Zagreb, Serbia Belgrade, Albania Tirana, Cyprus Nicosia, Macedonia Skopje
    northern Europe: Sweden Stockholm, Norway Oslo, Denmark Copenhagen, Finland Helsinki,
    Estonia Tallinn, Latvia Riga, Lithuania Vilnius, Greenland Nuuk
    eastern Europe: Russia Moscow, Poland Warsaw, Ukraine Kiev, Hungary Budapest, Romania
    Bucharest, Bulgaria Sofia, Belarus Minsk, Moldova Chisinau, Azerbaijan Baku
    western Asia: Iraq Baghdad, Iran Tehran, Syria Damascus, Lebanon Beirut, Jordan Amman,
    Turkey Ankara, Yemen Sanaa, Qatar Doha, Oman Muscat, Armenia Yerevan
    eastern Asia and Australia: China Beijing, Japan Tokyo, Thailand Bangkok, Vietnam Hanoi,
    Indonesia Jakarta, Philippines Manila, Taiwan Taipei, Australia Canberra, Laos Vientiane,
    South_Korea Seoul
    central Asia and Pacific: India New_Delhi, Pakistan Islamabad, Nepal Kathmandu, Bangladesh
    Dhaka, Afghanistan Kabul, Kazakhstan Astana, Fiji Suva, North_Korea Pyongyang,
    New_Zealand Wellington
    northern Africa: Egypt Cairo, Libya Tripoli, Morocco Rabat, Algeria Algiers, Tunisia Tunis,
    Mali Bamako, Somalia Mogadishu, Senegal Dakar, Ghana Accra, Nigeria Abuja
    southern Africa: Kenya Nairobi, Uganda Kampala, Rwanda Kigali, Zambia Lusaka, Zimbabwe
    Harare, Angola Luanda, Mozambique Maputo, Namibia Windhoek, Botswana Gaborone, Tanzania
    Dodoma
    South America: Peru Lima, Chile Santiago, Argentina Buenos_Aires, Colombia Bogota, Venezuela
    Caracas, Ecuador Quito, Uruguay Montevideo, Paraguay Asuncion, Brazil Brasilia, Bolivia
    La_Paz
    North America: Canada Ottawa, America Washington, Cuba Havana, Jamaica Kingston, Bahamas
    Nassau, Barbados Bridgetown, Nicaragua Managua, Costa_Rica San_Jose, Dominica Roseau
    """
)


def _capitals() -> list[Content]:
    """Wrong are capitals of the same region."""
    return [
        Content(
            topic=topic,
            fill=(country,),
            right=capital,
            wrong=tuple(other for _, other in rows if other != capital),
        )
        for topic, rows in _CAPITALS.items()
        for country, capital in rows
    ]


TASKS = {
    "capitals": Task(
        family="geography",
        summary="capital of a country, among capitals of its region",
        templates=(
            "The capital of {0} is",
            "{0} is governed from",
            "The main city of {0} is",
            "Capital of {0}:",
        ),
        held_out=(
            "The parliament of {0} meets in",
            "What is the capital of {0}?",
            "An embassy in {0} would be in",
        ),
        contents=_capitals,
        choices=3,
        most=TABLE,
    ),
}
