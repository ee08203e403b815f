"""monitoring: whether the traffic of the service is still like the data that the model was made from.

Not a stage: it reads the traffic log (serving/log), the training and validation splits and the served bundle, and
leaves a verdict, a report and, for the next training, the rows that have feedback.
"""
