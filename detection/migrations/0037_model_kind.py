from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0036_provenance'),
    ]

    operations = [
        migrations.AddField(
            model_name='modelversion',
            name='kind',
            field=models.CharField(choices=[('network', "The program's own network, over the faces of a person"), ('onnx_face', 'An ONNX file of others, a face at a time')], db_default='network', default='network', max_length=20),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='source',
            field=models.CharField(blank=True, db_default='', default='', help_text='Where a detector of others comes from.', max_length=300),
        ),
    ]
