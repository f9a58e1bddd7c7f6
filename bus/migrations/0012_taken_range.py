"""What a replay has taken is a range of its items: one number in its row, instead of a state of each item."""

from typing import Any

from django.db import migrations, models
from django.db.models import Max


def note_ranges(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    items = apps.get_model("bus", "ReplayItem").objects.using(alias).filter(state="taken")
    replays = apps.get_model("bus", "Replay").objects.using(alias)
    for row in items.order_by().values("replay_id").annotate(last=Max("sequence")):
        replays.filter(pk=row["replay_id"]).update(taken_to=row["last"])
    items.update(state="waiting")
    # A monitor that is at it now, and doesn't know ranges, loses its lease: the next one reads back what has arrived.
    replays.exclude(lease_owner="").update(
        lease_owner="", lease_expires_at=None, lease_number=models.F("lease_number") + 1
    )


def note_items(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    items = apps.get_model("bus", "ReplayItem").objects.using(alias).filter(state="waiting")
    replays = apps.get_model("bus", "Replay").objects.using(alias).filter(taken_to__gt=0)
    for pk, last in replays.values_list("pk", "taken_to"):
        items.filter(replay_id=pk, sequence__lte=last).update(state="taken")


class Migration(migrations.Migration):
    dependencies = [
        ("bus", "0011_further_places"),
    ]

    operations = [
        migrations.AddField(
            model_name="replay",
            name="taken_to",
            field=models.PositiveIntegerField(
                default=0, help_text="Waiting items up to this sequence are taken: on their way, or about to be."
            ),
        ),
        migrations.RemoveIndex(model_name="replayitem", name="bus_replay_item_open"),
        migrations.AlterField(
            model_name="replayitem",
            name="state",
            field=models.CharField(
                choices=[
                    ("waiting", "Waiting"),
                    ("sent", "Sent"),
                    ("handled", "Handled"),
                    ("failed again", "Failed Again"),
                    ("skipped", "Skipped"),
                ],
                default="waiting",
                max_length=12,
            ),
        ),
        migrations.AddIndex(
            model_name="replayitem",
            index=models.Index(condition=models.Q(("state", "sent")), fields=["id"], name="bus_replay_item_open"),
        ),
        migrations.AddIndex(
            model_name="replay",
            index=models.Index(condition=models.Q(("taken_to__gt", 0)), fields=["id"], name="bus_replay_taken"),
        ),
        migrations.RunPython(note_ranges, note_items, elidable=True),
    ]
