"""Maps in a vector store, and missions cut from it (extra `milvus`)."""
