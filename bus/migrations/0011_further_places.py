"""The first place of a dead letter is in the dead letter alone: only further ones have rows of their own."""

from typing import Any

from django.db import migrations, models
from django.db.models import F


def forget_first_places(apps: Any, schema_editor: Any) -> None:
    positions = apps.get_model("bus", "DeadLetterPosition").objects.using(schema_editor.connection.alias)
    positions.filter(
        cluster=F("dead_letter__cluster"),
        topic=F("dead_letter__dlq_topic"),
        partition=F("dead_letter__dlq_partition"),
        offset=F("dead_letter__dlq_offset"),
    ).delete()


def restore_first_places(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    position = apps.get_model("bus", "DeadLetterPosition")
    letters = apps.get_model("bus", "DeadLetter").objects.using(alias).filter(has_left_kafka=False)
    names = ("pk", "cluster", "dlq_topic", "dlq_partition", "dlq_offset")
    rows = (
        position(dead_letter_id=pk, cluster=cluster, topic=topic, partition=partition, offset=offset)
        for pk, cluster, topic, partition, offset in letters.values_list(*names).iterator()
    )
    position.objects.using(alias).bulk_create(rows, batch_size=500, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [
        ("bus", "0010_replay_warnings"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(fields=["dlq_topic", "dlq_partition", "dlq_offset"], name="bus_letter_place"),
        ),
        migrations.RunPython(forget_first_places, restore_first_places, elidable=True),
    ]
