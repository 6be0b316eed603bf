from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0037_model_kind'),
    ]

    operations = [
        migrations.AlterField(
            model_name='modelversion',
            name='kind',
            field=models.CharField(choices=[('network', "The program's own network, over the faces of a person"), ('onnx_face', 'An ONNX file of others, a face at a time'), ('ensemble', 'The mean of several versions')], db_default='network', default='network', max_length=20),
        ),
    ]
