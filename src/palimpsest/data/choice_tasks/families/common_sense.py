"""Physical common sense: what things are for, and which are bigger."""

from __future__ import annotations

from itertools import permutations

from palimpsest.data.choice_tasks.contents import TABLE, Content, Task, table

# what is done, and with what
_USES = table(
    """
    workshop: drive_in_nails hammer, cut_wood saw, make_holes drill, tighten_bolts wrench,
    smooth_wood sandpaper, hold_parts clamp, turn_screws screwdriver, melt_metal torch
    kitchen: eat_soup spoon, slice_bread knife, fry_eggs pan, boil_water kettle, keep_milk_cold
    fridge, bake_bread oven, drink_tea cup, open_cans opener
    garden: dig_holes shovel, cut_grass mower, gather_leaves rake, water_plants hose, carry_soil
    bucket, trim_hedges shears, chop_logs axe, protect_hands gloves
    desk: write_letters pen, cut_paper scissors, join_paper glue, measure_lines ruler,
    erase_marks eraser, add_numbers calculator, print_pages printer, send_email computer
    bath: wash_hands soap, dry_hands towel, brush_teeth toothpaste, shave_beards razor,
    tidy_hair comb, clean_floors mop, see_yourself mirror, wash_hair shampoo
    trip: carry_clothes suitcase, find_north compass, sleep_outdoors tent, cross_rivers bridge,
    find_roads map, take_photos camera, see_far_away telescope, climb_cliffs rope
    clothes: sew_cloth needle, press_shirts iron, warm_feet socks, warm_hands mittens,
    hold_up_pants belt, shade_eyes hat, stay_dry raincoat, warm_necks scarf
    house: light_rooms lamp, lock_doors key, sweep_floors broom, tell_time clock, sleep bed,
    reach_roofs ladder, hear_news radio, heat_rooms stove
    health: measure_fever thermometer, cover_wounds bandage, see_cells microscope, hear_hearts
    stethoscope, cure_infections medicine, read_small_print glasses, walk_with_injury crutch,
    inject_drugs syringe
    sport: hit_baseballs bat, ride_waves board, stop_pucks stick, protect_heads helmet,
    shoot_arrows bow, catch_fish net, row_boats oar, start_races whistle
    """
)
# from small to big, every one clearly bigger than the one before
_SIZES = table(
    """
    wild animals: ant, mouse, rabbit, fox, lion, elephant
    farm animals: fly, chick, hen, goat, pig, horse
    sea animals: shrimp, crab, salmon, dolphin, shark, whale
    vehicles: scooter, motorcycle, car, bus, train, ship
    buildings: tent, cabin, house, church, hospital, skyscraper
    food: crumb, pea, grape, apple, melon, pumpkin
    things in a house: pin, spoon, cup, chair, bed, room
    land: garden, village, town, city, country, continent
    water: drop, puddle, pond, lake, sea, ocean
    sky: pebble, rock, moon, planet, sun, galaxy
    body: eyelash, finger, hand, arm, leg, person
    plants: seed, leaf, flower, bush, tree, forest
    """
)


def _tool_use() -> list[Content]:
    """Wrong are tools of the same topic."""
    return [
        Content(
            topic=topic,
            fill=(use,),
            right=tool,
            wrong=tuple(other for _, other in rows if other != tool),
        )
        for topic, rows in _USES.items()
        for use, tool in rows
    ]


def _size() -> list[Content]:
    contents = []
    for topic, rows in _SIZES.items():
        order = [name for (name,) in rows]
        for one, other in permutations(order, 2):
            smaller, bigger = sorted((one, other), key=order.index)
            contents.append(
                Content(
                    topic=topic,
                    fill=(one, other),
                    right=bigger,
                    wrong=(smaller,),
                    key=f"{smaller} {bigger}",
                )
            )
    return contents


TASKS = {
    "tool_use": Task(
        family="common sense",
        summary="what one needs for something that is done",
        templates=(
            "To {0} you need the",
            "They {0} with the",
            "We want to {0}. Where is the",
            "Use this to {0}: the",
        ),
        held_out=(
            "I cannot {0} because I lost the",
            "If you wish to {0}, ask for the",
            "Someone who has to {0} takes the",
            "What helps to {0}? The",
        ),
        contents=_tool_use,
        choices=3,
        most=TABLE,
    ),
    "size": Task(
        family="common sense",
        summary="which of two things is bigger",
        templates=(
            "Which is bigger, {0} or {1}? The",
            "{0} or {1}: bigger is the",
            "Compare {0} and {1}. The bigger one is the",
        ),
        held_out=(
            "Of {0} and {1}, the larger is the",
            "Between {0} and {1}, what is big? It's the",
            "More room is needed, {0} or {1}, for the",
        ),
        contents=_size,
    ),
}
