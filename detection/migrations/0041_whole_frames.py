from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0040_shadow_roles'),
    ]

    operations = [
        migrations.AlterField(
            model_name='modelversion',
            name='kind',
            field=models.CharField(choices=[('network', "The program's own network, over the faces of a person"), ('onnx_face', 'An ONNX file of others, a face at a time'), ('onnx_sequence', "An ONNX file of others, a person's faces together"), ('onnx_frames', 'An ONNX file of others, whole frames with or without a face'), ('ensemble', 'The mean of several versions')], db_default='network', default='network', max_length=20),
        ),
        migrations.AddField(
            model_name='verdict',
            name='frames',
            field=models.JSONField(blank=True, null=True),
        ),
    ]
