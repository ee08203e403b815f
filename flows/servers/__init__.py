"""The processes that serve something: started, recorded, found again; their ports."""
