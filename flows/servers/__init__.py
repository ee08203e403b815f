"""The processes of servers: started, recorded and found again; their ports."""
